// Streams of a forecaster moved forward through its network: points in, forecasts out.
#include <cstring>
#include <numeric>

#include "backbone.h"
#include "guard.h"
#include "quantiles.h"
#include "streams.h"
#include "two_layer_map.h"

namespace xlstmd {
namespace {

bool all_finite(const float *x, int64_t count) {
  uint32_t most = 0;
  for (int64_t i = 0; i < count; i++) {
    uint32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    most = std::max(most, bits & 0x7fffffffu);
  }
  return most < 0x7f800000u;
}

class StreamNetwork {
 public:
  explicit StreamNetwork(const xlstmd_stream_network &spec)
      : spec_(spec),
        backbone_(*spec.backbone),
        embedding_(*spec.embedding),
        head_(*spec.head),
        streams_(*spec.streams) {}

  int64_t work(int64_t rows, int64_t steps) const {
    return backbone_.work(rows, steps) + embedding_.work(rows * steps);
  }

  // Takes points in and encodes every full patch.
  void append(int64_t rows, const int64_t *slots, const double *values, const int64_t *counts,
              uint8_t *finite) const {
    extend_streams(streams_, rows, slots, values, counts, finite);
    begin_again(rows, slots, finite);
    std::vector<int64_t> behind;
    do {
      behind.clear();
      for (int64_t row = 0; row < rows; row++)
        if (spec_.encoded[slots[row]] < full(streams_.known[slots[row]])) behind.push_back(slots[row]);
      encode(behind, 1);
    } while (!behind.empty());
    const int64_t size = backbone_.state_size;
    const auto lock = spec_.pool->enter(rows * size / 8);
    spec_.pool->run(rows, rows * size / 8, [&](int64_t row, int) {
      finite[row] = all_finite(spec_.states + slots[row] * size, size);
    });
  }

  // Scaled quantiles of the patches to come, [rows, outputs, patch, levels]; changes nothing.
  void quantiles(int64_t rows, const int64_t *slots, int64_t outputs, float *to) const {
    // States that nobody keeps: few enough to stay in a cache.
    constexpr int64_t kTogether = 128;
    const int64_t together = std::min(kTogether, backbone_.rows_together(rows, outputs));
    const int64_t tokens = together * outputs, size = backbone_.state_size;
    const auto lock = spec_.pool->enter(work(rows, outputs) + head_.work(rows * outputs));
    const auto room = reserve(together, outputs, true);
    Pieces kept(room.kept);
    float *features = kept.take<float>(tokens * features_of_token());
    float *normed = kept.take<float>(tokens * backbone_.width);
    float *states = kept.take<float>(together * size);
    int64_t *places = kept.take<int64_t>(together);
    std::iota(places, places + together, 0);
    for (int64_t first = 0; first < rows; first += together) {
      Flow flow{*spec_.pool, std::min(together, rows - first), outputs, backbone_.width,
                room.stream, nullptr, nullptr, size, spec_.states, slots + first, states, places,
                room.scratch};
      embed(flow, features, [&](int64_t slot, int64_t token) {
        const int64_t known = streams_.known[slot];
        return Token{known + token * spec_.patch, token ? 1.0 : fresh(known, slot)};
      });
      backbone_.forward(flow, outputs);
      flow.normed(backbone_.norm, normed);
      float *out = to + first * outputs * head_.outputs;
      head_.run(*spec_.pool, flow.tokens(), normed, out, room.scratch);
      add_feature(flow.tokens(), features, out);
    }
  }

  int64_t of_patch() const { return head_.outputs; }

 private:
  struct Token {
    int64_t end;
    double fresh;
  };

  int64_t features_of_token() const { return embedding_.inputs; }
  int64_t full(int64_t points) const { return std::max<int64_t>(points - 1, 0) / spec_.patch; }
  double fresh(int64_t known, int64_t slot) const {
    return static_cast<double>(known - spec_.encoded[slot] * spec_.patch) /
           static_cast<double>(spec_.patch);
  }

  xlstmd_backbone::Room reserve(int64_t rows, int64_t steps, bool with_head) const {
    const auto tokens = static_cast<size_t>(rows * steps);
    size_t scratch = embedding_.scratch_bytes(rows * steps);
    size_t kept = Pieces::bytes<float>(tokens * static_cast<size_t>(features_of_token()));
    if (with_head) {
      scratch = std::max(scratch, head_.scratch_bytes(rows * steps));
      kept += Pieces::bytes<float>(tokens * static_cast<size_t>(backbone_.width)) +
              Pieces::bytes<float>(static_cast<size_t>(rows * backbone_.state_size)) +
              Pieces::bytes<int64_t>(static_cast<size_t>(rows));
    }
    return backbone_.reserve(*spec_.pool, rows, steps, scratch, kept);
  }

  // Features of the rows' tokens, `token_at(slot, index)` each, and from them the residual stream.
  template <class TokenAt>
  void embed(const Flow &flow, float *features, const TokenAt &token_at) const {
    constexpr int64_t kWork = 4000;
    const int64_t width = features_of_token();
    flow.pool.run(flow.rows, flow.tokens() * kWork, [&](int64_t row, int) {
      TokenFeatures stream(streams_, flow.source[row]);
      for (int64_t token = 0; token < flow.steps; token++) {
        const Token at = token_at(flow.source[row], token);
        stream.put(at.end, at.fresh, features + (row * flow.steps + token) * width);
      }
    });
    embedding_.run(flow.pool, flow.tokens(), features, flow.x, flow.scratch);
  }

  // Streams whose scale was renewed: what they hold is encoded in one call, so that how it is rounded
  // depends on the history alone.
  void begin_again(int64_t rows, const int64_t *slots, const uint8_t *renewed) const {
    std::vector<std::pair<int64_t, int64_t>> wanted;
    for (int64_t row = 0; row < rows; row++) {
      if (!renewed[row]) continue;
      const int64_t slot = slots[row], count = full(streams_.scales[slot].anchor);
      backbone_.clear(spec_.states + slot * backbone_.state_size);
      spec_.encoded[slot] = 0;
      if (count > 0) wanted.emplace_back(count, slot);
    }
    std::sort(wanted.begin(), wanted.end());
    std::vector<int64_t> alike;
    for (size_t i = 0; i < wanted.size(); i++) {
      alike.push_back(wanted[i].second);
      if (i + 1 < wanted.size() && wanted[i + 1].first == wanted[i].first) continue;
      encode(alike, wanted[i].first);
      alike.clear();
    }
  }

  // Moves states on by so many tokens.
  void encode(const std::vector<int64_t> &slots, int64_t count) const {
    const auto rows = static_cast<int64_t>(slots.size());
    if (rows == 0) return;
    const int64_t together = backbone_.rows_together(rows, count), size = backbone_.state_size;
    const auto lock = spec_.pool->enter(work(rows, count));
    const auto room = reserve(together, count, false);
    for (int64_t first = 0; first < rows; first += together) {
      const int64_t *some = slots.data() + first;
      Flow flow{*spec_.pool, std::min(together, rows - first), count, backbone_.width, room.stream,
                nullptr, nullptr, size, spec_.states, some, spec_.states, some, room.scratch};
      embed(flow, static_cast<float *>(room.kept), [&](int64_t slot, int64_t token) {
        return Token{(spec_.encoded[slot] + 1 + token) * spec_.patch, 1.0};
      });
      backbone_.forward(flow, 0);
    }
    for (const int64_t slot : slots) spec_.encoded[slot] += count;
  }

  // Adds to all outputs of a token the feature that they are distances from.
  void add_feature(int64_t tokens, const float *features, float *out) const {
    if (spec_.added_feature < 0) return;
    for (int64_t token = 0; token < tokens; token++) {
      const float added = features[token * features_of_token() + spec_.added_feature];
      for (int64_t i = 0; i < head_.outputs; i++) out[token * head_.outputs + i] += added;
    }
  }

  const xlstmd_stream_network &spec_;
  const xlstmd_backbone &backbone_;
  const xlstmd_two_layer_map &embedding_, &head_;
  const xlstmd_streams &streams_;
};

template <class F>
int32_t with_network(const xlstmd_stream_network *spec, int64_t rows, const int64_t *slots,
                     const F &f) {
  const int32_t status = check_slots(rows, spec->slots, slots, slots);
  if (status != kDone) return status;
  return guarded([&] { f(StreamNetwork(*spec)); });
}

}  // namespace
}  // namespace xlstmd

extern "C" int32_t xlstmd_streams_append(const xlstmd_stream_network *network, int64_t rows,
                                         const int64_t *slots, const double *values,
                                         const int64_t *counts, uint8_t *finite) {
  return xlstmd::with_network(network, rows, slots, [&](const xlstmd::StreamNetwork &streams) {
    streams.append(rows, slots, values, counts, finite);
  });
}

extern "C" int32_t xlstmd_streams_quantiles(const xlstmd_stream_network *network, int64_t rows,
                                            const int64_t *slots, int64_t outputs,
                                            float *quantiles) {
  return xlstmd::with_network(network, rows, slots, [&](const xlstmd::StreamNetwork &streams) {
    streams.quantiles(rows, slots, outputs, quantiles);
  });
}

extern "C" int32_t xlstmd_streams_forecast(const xlstmd_stream_network *network,
                                           const xlstmd_quantile_plan *plan, int64_t rows,
                                           const int64_t *slots, int64_t horizon, double *mean,
                                           double *median, double *quantiles, uint8_t *finite) {
  return xlstmd::with_network(network, rows, slots, [&](const xlstmd::StreamNetwork &streams) {
    const int64_t outputs = (horizon + network->patch - 1) / network->patch;
    std::vector<float> raw(static_cast<size_t>(rows * outputs * streams.of_patch()));
    streams.quantiles(rows, slots, outputs, raw.data());
    xlstmd::Quantiles quantile(*plan);
    for (int64_t row = 0; row < rows; row++) {
      const xlstmd_scale &scale = network->streams->scales[slots[row]];
      const float *from = raw.data() + row * outputs * streams.of_patch();
      finite[row] = 1;
      for (int64_t point = 0; point < horizon; point++)
        if (!quantile.put(from + point * plan->known, scale.mean, scale.deviation,
                          {mean, median, quantiles}, row * horizon + point))
          finite[row] = 0;
    }
  });
}
