// Every kernel at random shapes, arrays of exactly their sizes: for tools that watch memory.
// Results must be finite, which also says that every number was written.
#include <algorithm>
#include <memory>
#include <random>

#include "cases.h"

namespace xlstmd_test {
namespace {

class Draw {
 public:
  explicit Draw(uint64_t seed) : engine_(seed) {}

  int64_t between(int64_t least, int64_t most) {
    return least + static_cast<int64_t>(engine_() % static_cast<uint64_t>(most - least + 1));
  }
  template <class T>
  std::vector<T> numbers(int64_t count, T scale = 1) {
    std::vector<T> numbers(static_cast<size_t>(count));
    for (T &x : numbers) x = scale * static_cast<T>(normal_(engine_));
    return numbers;
  }
  // Empty, which stands for none, half of the time.
  std::vector<uint8_t> mask(int64_t count, int64_t percent) {
    std::vector<uint8_t> mask(static_cast<size_t>(between(0, 1) * count));
    for (uint8_t &x : mask) x = between(1, 100) <= percent;
    return mask;
  }

 private:
  std::mt19937_64 engine_;
  std::normal_distribution<double> normal_;
};

// Several arrays that the library takes together.
template <class T>
struct Set {
  std::vector<std::vector<T>> arrays;
  std::vector<T *> places;

  void add(std::vector<T> array) {
    arrays.push_back(std::move(array));
    places.push_back(arrays.back().data());
  }
  Set like() const {
    Set other;
    for (const auto &array : arrays) other.add(unwritten<T>(array.size()));
    return other;
  }
  const T *const *read() const { return places.data(); }
  T *const *write() const { return places.data(); }
};

struct Watch {
  Checks &checks;
  std::string name;

  void done(int32_t status) const { checks.status(name, status); }
  template <class T>
  void finite(const std::vector<T> &numbers) const {
    double others = 0;
    for (const T x : numbers) others += !std::isfinite(x);
    checks.report(name + ", numbers that are not finite", others, 0.0);
  }
  template <class T>
  void finite(const Set<T> &set) const {
    for (const auto &array : set.arrays) finite(array);
  }
};

void random_map(const Watch &watch, Draw &draw, xlstmd_pool *) {
  auto x = draw.numbers<float>(draw.between(0, 100), 3.0f);
  auto y = unwritten<float>(x.size());
  for (float &each : x) each = std::fabs(each) + 0.01f;
  xlstmd_map_f32(static_cast<int32_t>(draw.between(XLSTMD_EXP, XLSTMD_GELU)),
                 static_cast<int64_t>(x.size()), x.data(), y.data());
  watch.finite(y);
}

void random_matrix(const Watch &watch, Draw &draw, xlstmd_pool *pool) {
  // Now and then so many that threads share them.
  const int64_t rows = draw.between(0, draw.between(0, 7) ? 40 : 800);
  const int64_t inputs = draw.between(1, 150), outputs = draw.between(1, 150);
  auto weights = draw.numbers<float>(outputs * inputs);
  const auto x = draw.numbers<float>(rows * inputs);
  // Half of the time such as float16 holds exactly.
  if (draw.between(0, 1))
    for (float &weight : weights) weight = std::round(64.0f * weight) / 64.0f;
  const auto bias = draw.numbers<float>(outputs);
  auto y = unwritten<float>(static_cast<size_t>(rows * outputs));
  const std::unique_ptr<xlstmd_matrix, void (*)(xlstmd_matrix *)> matrix(
      xlstmd_matrix_create(outputs, inputs, weights.data(),
                           static_cast<int32_t>(draw.between(XLSTMD_FLOAT32, XLSTMD_INT8))),
      xlstmd_matrix_destroy);
  watch.done(xlstmd_matrix_product(pool, matrix.get(), rows, x.data(),
                                   draw.between(0, 1) ? bias.data() : nullptr, y.data()));
  watch.finite(y);
}

template <class T, class Product>
void random_gemm(const Watch &watch, Draw &draw, const Product &product) {
  const int64_t m = draw.between(1, 40), n = draw.between(1, 150), k = draw.between(1, 80);
  const auto a = draw.numbers<T>(m * k), b = draw.numbers<T>(k * n);
  auto c = unwritten<T>(static_cast<size_t>(m * n));
  const bool by_columns = draw.between(0, 1) != 0;
  watch.done(
      product(m, n, k, a.data(), by_columns ? 1 : k, by_columns ? m : 1, b.data(), c.data()));
  watch.finite(c);
}

int32_t random_products(Draw &draw) {
  return static_cast<int32_t>(draw.between(XLSTMD_FLOAT32, XLSTMD_BFLOAT16));
}

template <class T>
void random_linear(const Watch &watch, Draw &draw, xlstmd_pool *pool) {
  const xlstmd_linear_problem p{draw.between(0, 200), draw.between(1, 90), draw.between(1, 150),
                                random_products(draw)};
  const auto x = draw.numbers<T>(p.rows * p.inputs), weight = draw.numbers<T>(p.outputs * p.inputs);
  const auto bias = draw.numbers<T>(p.outputs), dy = draw.numbers<T>(p.rows * p.outputs);
  auto y = unwritten<T>(dy.size()), dx = unwritten<T>(x.size());
  auto d_weight = unwritten<T>(weight.size()), d_bias = unwritten<T>(bias.size());
  watch.done(Native<T>::linear_forward(pool, &p, x.data(), weight.data(),
                                       draw.between(0, 1) ? bias.data() : nullptr, y.data()));
  watch.done(Native<T>::linear_backward(pool, &p, x.data(), weight.data(), dy.data(), dx.data(),
                                        d_weight.data(), d_bias.data()));
  for (const auto &each : {y, dx, d_weight, d_bias}) watch.finite(each);
}

template <class T>
void random_norm(const Watch &watch, Draw &draw, xlstmd_pool *pool) {
  const xlstmd_norm_problem p{draw.between(0, 150), draw.between(1, 4), draw.between(1, 90),
                              static_cast<int32_t>(draw.between(0, 1)), 1e-3};
  const int64_t width = p.groups * p.units, size = p.rows * width;
  const auto x = draw.numbers<T>(size), weight = draw.numbers<T>(width), dy = draw.numbers<T>(size);
  auto y = unwritten<T>(static_cast<size_t>(size)), dx = y;
  auto d_weight = unwritten<T>(static_cast<size_t>(width));
  watch.done(Native<T>::norm_forward(pool, &p, x.data(), weight.data(), y.data()));
  watch.done(Native<T>::norm_backward(pool, &p, x.data(), weight.data(), dy.data(), dx.data(),
                                      d_weight.data()));
  for (const auto &each : {y, dx, d_weight}) watch.finite(each);
}

template <class T>
void random_headwise(const Watch &watch, Draw &draw, xlstmd_pool *pool) {
  const xlstmd_headwise_problem p{draw.between(0, 150), draw.between(1, 4), draw.between(1, 4),
                                  draw.between(1, 40), draw.between(1, 70)};
  const int64_t block = p.groups * p.inputs * p.outputs, all = p.parts * p.groups * p.outputs;
  const bool shared = draw.between(0, 1) != 0, biased = draw.between(0, 1) != 0;
  std::vector<std::vector<T>> x, dx, weight, d_weight;
  for (int64_t part = 0; part < p.parts; part++) {
    x.push_back(draw.numbers<T>(p.rows * p.groups * p.inputs));
    weight.push_back(draw.numbers<T>(block));
    dx.push_back(unwritten<T>(x.back().size()));
    d_weight.push_back(unwritten<T>(weight.back().size()));
  }
  std::vector<T *> at[4];
  for (size_t part = 0; part < x.size(); part++) {
    const size_t source = shared ? 0 : part;
    at[0].push_back(x[source].data());
    at[1].push_back(dx[source].data());
    at[2].push_back(weight[part].data());
    at[3].push_back(d_weight[part].data());
  }
  const auto bias = draw.numbers<T>(all), dy = draw.numbers<T>(p.rows * all);
  auto y = unwritten<T>(dy.size()), d_bias = unwritten<T>(bias.size());
  watch.done(Native<T>::headwise_forward(pool, &p, at[0].data(), at[2].data(),
                                         biased ? bias.data() : nullptr, y.data()));
  watch.done(Native<T>::headwise_backward(pool, &p, at[0].data(), at[2].data(), dy.data(),
                                          at[1].data(), at[3].data(), d_bias.data()));
  dx.resize(shared ? 1 : dx.size());
  for (const auto *set : {&dx, &d_weight})
    for (const auto &each : *set) watch.finite(each);
  watch.finite(y);
  watch.finite(d_bias);
}

template <class T>
void random_feedforward(const Watch &watch, Draw &draw, xlstmd_pool *pool) {
  const xlstmd_feedforward_problem p{draw.between(0, 150), draw.between(1, 90),
                                     draw.between(1, 150), static_cast<int32_t>(draw.between(0, 1)),
                                     random_products(draw)};
  const auto x = draw.numbers<T>(p.rows * p.width), dy = draw.numbers<T>(p.rows * p.width);
  std::vector<T> weights[3], d_weights[3];
  const T *at[3];
  T *d_at[3];
  for (int i = 0; i < 3; i++) {
    weights[i] = draw.numbers<T>(p.width * p.hidden);
    d_weights[i] = unwritten<T>(weights[i].size());
    at[i] = weights[i].data();
    d_at[i] = d_weights[i].data();
  }
  auto y = unwritten<T>(x.size()), dx = unwritten<T>(x.size()), plain = unwritten<T>(x.size());
  auto saved = unwritten<T>(static_cast<size_t>(2 * p.rows * p.hidden));
  watch.done(Native<T>::feedforward_forward(pool, &p, x.data(), at, y.data(), saved.data()));
  watch.done(Native<T>::feedforward_forward(pool, &p, x.data(), at, plain.data(), nullptr));
  watch.done(Native<T>::feedforward_backward(pool, &p, x.data(), at, saved.data(), dy.data(),
                                             dx.data(), d_at));
  for (const auto &each : {y, plain, dx, saved, d_weights[0], d_weights[1], d_weights[2]})
    watch.finite(each);
}

// A series with gaps and jumps, taken in piece by piece.
void random_scale(const Watch &watch, Draw &draw, xlstmd_pool *) {
  xlstmd_scale scale{0.0, 0.0, 0.0, 0.0, 0.0, 0, 0};
  const int64_t context = draw.between(1, 300);
  std::vector<double> points;
  int64_t seen = 0;
  for (int64_t pieces = draw.between(1, 6); pieces > 0; pieces--) {
    for (double point : draw.numbers<double>(draw.between(1, 200), draw.between(0, 1) ? 1.0 : 1e4))
      points.push_back(draw.between(0, 9) ? point : NAN);
    int64_t dropped = -1;
    int32_t renewed = -1;
    watch.done(xlstmd_scale_advance(&scale, points.data(), static_cast<int64_t>(points.size()),
                                    seen, context, &dropped, &renewed));
    watch.finite(std::vector<double>{scale.mean, scale.deviation, scale.sum, scale.squares});
    const bool possible = dropped >= 0 && dropped <= static_cast<int64_t>(points.size());
    watch.checks.report(watch.name + ", dropped", possible && renewed >= 0 ? 0.0 : 1.0, 0.0);
    if (!possible) return;
    points.erase(points.begin(), points.begin() + dropped);
    seen = static_cast<int64_t>(points.size());
  }
}

// Two streams fed with gaps and jumps; the second one's scale may be anybody's.
void random_streams(const Watch &watch, Draw &draw, xlstmd_pool *) {
  const int64_t context = draw.between(4, 200), capacity = context + context / 2;
  const int64_t window = draw.between(1, 40), tokens = draw.between(1, 5);
  std::vector<double> points(static_cast<size_t>(2 * capacity), NAN);
  std::vector<int64_t> known(2, 0), observed(2, 0);
  std::vector<xlstmd_scale> scales(2, xlstmd_scale{0.0, 0.0, 0.0, 0.0, 0.0, 0, 0});
  const xlstmd_streams streams{capacity,     context,         window,       points.data(),
                               known.data(), observed.data(), scales.data()};
  const int64_t slots[] = {1, 0};
  for (int64_t pieces = draw.between(1, 8); pieces > 0; pieces--) {
    const int64_t counts[] = {draw.between(0, 2 * capacity), draw.between(0, 40)};
    auto values = draw.numbers<double>(counts[0] + counts[1], draw.between(0, 1) ? 1.0 : 1e4);
    for (double &value : values)
      if (!draw.between(0, 9)) value = NAN;
    if (!draw.between(0, 3)) scales[1].anchor = draw.between(0, 1) ? 1000000000000 : -5;
    std::vector<uint8_t> renewed(2, 7);
    watch.done(xlstmd_streams_extend(&streams, 2, slots, values.data(), counts, renewed.data()));
    std::vector<int64_t> ends;
    std::vector<double> fresh;
    for (int64_t token = 0; token < 2 * tokens; token++) {
      ends.push_back(draw.between(0, capacity + 50));
      fresh.push_back(1.0);
    }
    auto features = unwritten<float>(static_cast<size_t>(2 * tokens * (2 * window + 4)));
    xlstmd_streams_features(&streams, 2, slots, tokens, ends.data(), fresh.data(),
                            features.data());
    watch.finite(features);
  }
  for (int64_t count : known) watch.done(count < 0 || count > capacity ? -1 : 0);
}

void random_measures(const Watch &watch, Draw &draw, xlstmd_pool *pool) {
  watch.finite(std::vector<double>{xlstmd_measure_fma(pool, 1e-5),
                                   xlstmd_measure_read(pool, draw.between(1, 10000), 1e-5)});
}

template <class T>
void random_slstm(const Watch &watch, Draw &draw, xlstmd_pool *pool) {
  using F = Native<T>;
  const int64_t rows = draw.between(0, 9), steps = draw.between(0, 9), heads = draw.between(1, 3);
  const int64_t units = draw.between(1, 40), width = heads * units;
  const auto reset = draw.mask(rows * steps, 20), valid = draw.mask(rows * steps, 70);
  const xlstmd_slstm_problem problem{rows,
                                     steps,
                                     heads,
                                     units,
                                     static_cast<int32_t>(draw.between(0, 1)),
                                     draw.between(0, 1) ? 2.0 : 0.0,
                                     or_null(reset),
                                     or_null(valid)};
  const auto preacts = draw.numbers<T>(rows * steps * 4 * width);
  const auto recurrent = draw.numbers<T>(4 * width * units, T(0.2));
  const auto d_out = draw.numbers<T>(rows * steps * width);
  Set<T> start, d_end;
  for (int i = 0; i < 4; i++) {
    start.add(draw.numbers<T>(rows * width));
    d_end.add(draw.numbers<T>(rows * width));
  }
  for (T &normalizer : start.arrays[2]) normalizer = 1 + std::fabs(normalizer);
  auto out = unwritten<T>(d_out.size()), d_preacts = unwritten<T>(preacts.size());
  auto d_recurrent = unwritten<T>(recurrent.size());
  auto saved = unwritten<T>(static_cast<size_t>(F::slstm_saved(&problem)));
  Set<T> end = start.like(), d_start = start.like();
  watch.done(F::slstm_forward(pool, &problem, preacts.data(), recurrent.data(), start.read(),
                              out.data(), end.write(), saved.data()));
  watch.done(F::slstm_backward(pool, &problem, recurrent.data(), saved.data(), d_out.data(),
                               d_end.read(), d_preacts.data(), d_recurrent.data(),
                               d_start.write()));
  watch.finite(out);
  watch.finite(end);
  watch.finite(d_preacts);
  watch.finite(d_recurrent);
  watch.finite(d_start);
}

template <class T>
void random_mlstm(const Watch &watch, Draw &draw, xlstmd_pool *pool) {
  using F = Native<T>;
  const int64_t rows = draw.between(0, 3), heads = draw.between(1, 3);
  const int64_t steps = draw.between(0, 2) * draw.between(0, 80);
  const int64_t K = draw.between(1, 40), V = draw.between(1, 40);
  const auto reset = draw.mask(rows * steps, 5), valid = draw.mask(rows * steps, 80);
  const xlstmd_mlstm_problem problem{rows, heads,          steps,         K, V, 1e-6, 0.0,
                                     15.0, or_null(reset), or_null(valid)};
  Set<T> inputs, start, d_end;
  for (const int64_t size : {K, K, V, int64_t(1), int64_t(1)})
    inputs.add(draw.numbers<T>(rows * heads * steps * size));
  for (const int64_t size : {K * V, K, int64_t(1)}) {
    start.add(draw.numbers<T>(rows * heads * size));
    d_end.add(draw.numbers<T>(rows * heads * size));
  }
  const auto d_out = draw.numbers<T>(rows * heads * steps * V);
  auto out = unwritten<T>(d_out.size());
  auto saved = unwritten<T>(static_cast<size_t>(F::mlstm_saved(&problem)));
  Set<T> end = start.like(), d_inputs = inputs.like(), d_start = start.like();
  watch.done(F::mlstm_forward(pool, &problem, inputs.read(), start.read(), out.data(), end.write(),
                              saved.data()));
  watch.done(F::mlstm_backward(pool, &problem, inputs.read(), start.read(), out.data(),
                               saved.data(), d_out.data(), d_end.read(), d_inputs.write(),
                               d_start.write()));
  watch.finite(out);
  watch.finite(end);
  watch.finite(d_inputs);
  watch.finite(d_start);
}

template <class T>
void random_conv(const Watch &watch, Draw &draw, xlstmd_pool *pool) {
  using F = Native<T>;
  const int64_t rows = draw.between(0, 5), steps = draw.between(0, 20);
  const int64_t units = draw.between(1, 80), window = draw.between(1, 6);
  const auto reset = draw.mask(rows * steps, 20), valid = draw.mask(rows * steps, 70);
  const xlstmd_conv_problem problem{rows, steps, units, window, or_null(reset), or_null(valid)};
  const auto x = draw.numbers<T>(rows * steps * units), d_y = draw.numbers<T>(rows * steps * units);
  const auto weight = draw.numbers<T>(units * window), bias = draw.numbers<T>(units);
  const auto start = draw.numbers<T>(rows * (window - 1) * units);
  const auto d_end = draw.numbers<T>(rows * (window - 1) * units);
  const bool biased = draw.between(0, 1) != 0;
  auto y = unwritten<T>(x.size()), end = unwritten<T>(start.size()), d_x = unwritten<T>(x.size());
  auto d_weight = unwritten<T>(weight.size()), d_start = unwritten<T>(start.size());
  auto d_bias = unwritten<T>(biased ? bias.size() : 0);
  watch.done(F::conv_forward(pool, &problem, x.data(), weight.data(),
                             biased ? bias.data() : nullptr, start.data(), y.data(), end.data()));
  watch.done(F::conv_backward(pool, &problem, x.data(), weight.data(), start.data(), d_y.data(),
                              d_end.data(), d_x.data(), d_weight.data(),
                              biased ? d_bias.data() : nullptr, d_start.data()));
  for (const auto &result : {y, end, d_x, d_weight, d_bias, d_start}) watch.finite(result);
}

struct RandomBackbone {
  int64_t width;
  std::vector<std::vector<float>> weights;
  std::vector<xlstmd_block> blocks;

  explicit RandomBackbone(Draw &draw) {
    const int64_t heads = draw.between(1, 3);
    width = heads * draw.between(1, 14);
    const int64_t count = draw.between(1, 3);
    for (int64_t i = 0; i < count; i++) add(draw, heads);
  }

  void add(Draw &draw, int64_t heads) {
    xlstmd_block block{};
    block.kind = static_cast<int32_t>(draw.between(XLSTMD_BLOCK_SLSTM, XLSTMD_BLOCK_PREUP_MLSTM));
    block.rms_norm = static_cast<int32_t>(draw.between(0, 1));
    block.exp_forget = static_cast<int32_t>(draw.between(0, 1));
    block.gelu = static_cast<int32_t>(draw.between(0, 1));
    block.heads = heads;
    block.hidden = draw.between(1, 50);
    block.projection_block = draw.between(1, 4);
    block.inner = heads * block.projection_block * draw.between(1, 8);
    const bool preup = block.kind == XLSTMD_BLOCK_PREUP_MLSTM;
    block.qk_width = preup ? block.inner / heads : draw.between(1, 20);
    block.value_width = (preup ? block.inner : width) / heads;
    block.conv_window = draw.between(preup ? 1 : 0, 5);
    block.norm_eps = block.head_norm_eps = 1e-5;
    block.cap = 15.0;
    block.eps = 1e-6;
    for (int place = 0; place < XLSTMD_NUM_WEIGHTS; place++) {
      weights.push_back(draw.numbers<float>(size_of(block, place), 0.3f));
      block.weights[place] = weights.back().data();
    }
    blocks.push_back(block);
  }

  // Numbers of a block's weights, as `native_backbone.parameter_shapes` has them.
  int64_t size_of(const xlstmd_block &block, int place) const {
    const int64_t heads = block.heads, units = width / heads, inner = block.inner;
    const bool slstm = block.kind == XLSTMD_BLOCK_SLSTM;
    const bool preup = block.kind == XLSTMD_BLOCK_PREUP_MLSTM;
    const int64_t wide = preup ? inner : width, keys = heads * block.qk_width;
    switch (place) {
      case XLSTMD_NORM:
      case XLSTMD_FEEDFORWARD_NORM:
        return width;
      case XLSTMD_HEAD_NORM:
      case XLSTMD_CONV_BIAS:
      case XLSTMD_SKIP:
        return wide;
      case XLSTMD_FEEDFORWARD_GATE:
      case XLSTMD_FEEDFORWARD_UP:
      case XLSTMD_FEEDFORWARD_DOWN:
        return width * block.hidden;
      case XLSTMD_CONV_WEIGHT:
        return wide * block.conv_window;
      case XLSTMD_INPUT_GATE:
      case XLSTMD_FORGET_GATE:
        return slstm ? width * units : heads * (preup ? 3 * inner : width);
      case XLSTMD_INPUT_GATE_BIAS:
      case XLSTMD_FORGET_GATE_BIAS:
        return heads;
      case XLSTMD_CELL_INPUT:
        return width * units;
      case XLSTMD_OUTPUT_GATE:
        return slstm ? width * units : width * width;
      case XLSTMD_RECURRENT:
        return 4 * width * units;
      case XLSTMD_BIAS:
        return 4 * width;
      case XLSTMD_QUERY:
      case XLSTMD_KEY:
        return preup ? inner * block.projection_block : keys * width;
      case XLSTMD_VALUE:
        return preup ? inner * block.projection_block : width * width;
      case XLSTMD_OUT:
        return width * width;
      default:  // up, gate and down of the pre-up block
        return inner * width;
    }
  }
};

void random_backbone(const Watch &watch, Draw &draw, xlstmd_pool *pool) {
  const RandomBackbone model(draw);
  const auto norm = draw.numbers<float>(model.width);
  const std::unique_ptr<xlstmd_backbone, void (*)(xlstmd_backbone *)> backbone(
      xlstmd_backbone_create(model.width, static_cast<int64_t>(model.blocks.size()),
                             model.blocks.data(), static_cast<int32_t>(draw.between(0, 1)), 1e-5,
                             norm.data(),
                             static_cast<int32_t>(draw.between(XLSTMD_FLOAT32, XLSTMD_INT8))),
      xlstmd_backbone_destroy);
  const int64_t rows = draw.between(0, 9), steps = draw.between(0, 12);
  const int64_t outputs = draw.between(0, steps);
  const int64_t size = xlstmd_backbone_state_size(backbone.get());
  auto arena = unwritten<float>(static_cast<size_t>(rows * size));
  std::vector<int64_t> slots;
  for (int64_t r = 0; r < rows; r++) {
    slots.push_back(rows - 1 - r);
    xlstmd_backbone_clear(backbone.get(), arena.data() + r * size);
  }
  const auto reset = draw.mask(rows * steps, 20), valid = draw.mask(rows * steps, 70);
  const auto x = draw.numbers<float>(rows * steps * model.width);
  auto y = unwritten<float>(static_cast<size_t>(rows * outputs * model.width));
  watch.done(xlstmd_backbone_forward(pool, backbone.get(), rows, steps, outputs, x.data(),
                                     or_null(reset), or_null(valid), rows, arena.data(),
                                     slots.data(), slots.data(), y.data()));
  // Outputs of padded steps mean nothing.
  for (int64_t i = 0; i < rows * outputs * model.width && !valid.empty(); i++) {
    const int64_t token = i / model.width;
    if (!valid[token / outputs * steps + steps - outputs + token % outputs]) y[i] = 0.0f;
  }
  watch.finite(y);
  watch.finite(arena);
}

// Steps between two maps, each in a precision of its own.
void random_stepper(const Watch &watch, Draw &draw, xlstmd_pool *pool) {
  const RandomBackbone model(draw);
  const auto norm = draw.numbers<float>(model.width);
  const auto precision = [&] {
    return static_cast<int32_t>(draw.between(XLSTMD_FLOAT32, XLSTMD_INT8));
  };
  const std::unique_ptr<xlstmd_backbone, void (*)(xlstmd_backbone *)> backbone(
      xlstmd_backbone_create(model.width, static_cast<int64_t>(model.blocks.size()),
                             model.blocks.data(), 0, 1e-5, norm.data(), precision()),
      xlstmd_backbone_destroy);
  const int64_t rows = draw.between(0, draw.between(0, 7) ? 9 : 400);
  const int64_t inputs = draw.between(1, 70), outputs = draw.between(1, 70);
  using Map = std::unique_ptr<xlstmd_matrix, void (*)(xlstmd_matrix *)>;
  const Map into(xlstmd_matrix_create(model.width, inputs,
                                      draw.numbers<float>(model.width * inputs).data(), precision()),
                 xlstmd_matrix_destroy);
  const Map out_of(xlstmd_matrix_create(outputs, model.width,
                                        draw.numbers<float>(outputs * model.width).data(),
                                        precision()),
                   xlstmd_matrix_destroy);
  const auto bias = draw.numbers<float>(model.width), x = draw.numbers<float>(rows * inputs);
  const int64_t size = xlstmd_backbone_state_size(backbone.get());
  auto arena = unwritten<float>(static_cast<size_t>(rows * size));
  auto y = unwritten<float>(static_cast<size_t>(rows * outputs));
  std::vector<int64_t> slots;
  for (int64_t r = 0; r < rows; r++) {
    slots.push_back(rows - 1 - r);
    xlstmd_backbone_clear(backbone.get(), arena.data() + r * size);
  }
  const xlstmd_stepper stepper{pool,         backbone.get(), into.get(),   bias.data(),
                               out_of.get(), nullptr,        x.data(),     rows,
                               arena.data(), slots.data(),   slots.data(), y.data()};
  for (int step = 0; step < 2; step++) watch.done(xlstmd_stepper_run(&stepper, rows));
  watch.finite(y);
  watch.finite(arena);
}

void random_two_layer_map(const Watch &watch, Draw &draw, xlstmd_pool *pool) {
  const int64_t rows = draw.between(0, 20), inputs = draw.between(1, 70);
  const int64_t hidden = draw.between(1, 70), outputs = draw.between(1, 70);
  const auto up = draw.numbers<float>(hidden * inputs), up_bias = draw.numbers<float>(hidden);
  const auto down = draw.numbers<float>(outputs * hidden), down_bias = draw.numbers<float>(outputs);
  const auto skip = draw.numbers<float>(outputs * inputs), skip_bias = draw.numbers<float>(outputs);
  const std::unique_ptr<xlstmd_two_layer_map, void (*)(xlstmd_two_layer_map *)> map(
      xlstmd_two_layer_map_create(inputs, hidden, outputs, up.data(), up_bias.data(), down.data(),
                                  down_bias.data(), skip.data(),
                                  draw.between(0, 1) ? skip_bias.data() : nullptr,
                                  static_cast<int32_t>(draw.between(0, 1)),
                                  static_cast<int32_t>(draw.between(XLSTMD_FLOAT32, XLSTMD_INT8))),
      xlstmd_two_layer_map_destroy);
  const auto x = draw.numbers<float>(rows * inputs);
  auto y = unwritten<float>(static_cast<size_t>(rows * outputs));
  watch.done(xlstmd_two_layer_map_run(pool, map.get(), rows, x.data(), y.data()));
  watch.finite(y);
}

// What a network with random weights makes of streams: three of them, and more slots than that.
struct RandomStreams {
  static constexpr int64_t kSlots = 4, kRows = 3;
  int64_t context, capacity, window, patch, levels;
  std::vector<double> points;
  std::vector<int64_t> known, observed, encoded, made_at;
  std::vector<xlstmd_scale> scales;
  xlstmd_streams streams;
  std::vector<float> states;

  explicit RandomStreams(Draw &draw)
      : context(draw.between(8, 150)),
        capacity(context + context / 2),
        window(draw.between(1, 20)),
        patch(draw.between(1, window)),
        levels(draw.between(2, 9)),
        points(static_cast<size_t>(kSlots * capacity), NAN),
        known(kSlots),
        observed(kSlots),
        encoded(kSlots),
        made_at(kSlots),
        scales(kSlots),
        streams{capacity, context, window, points.data(), known.data(), observed.data(),
                scales.data()} {}
  RandomStreams(const RandomStreams &) = delete;

  int64_t features() const { return 2 * window + 4; }
};

// Rising levels, and places and shares of wanted ones that fit them.
struct RandomPlan {
  std::vector<double> levels, widths, shares;
  std::vector<int64_t> places;
  xlstmd_quantile_plan plan;

  RandomPlan(Draw &draw, int64_t known) {
    for (int64_t i = 1; i <= known; i++)
      levels.push_back(static_cast<double>(i) / static_cast<double>(known + 1));
    for (int64_t i = 0; i + 1 < known; i++) widths.push_back(levels[i + 1] - levels[i]);
    for (int64_t wanted = draw.between(1, 5); wanted > 0; wanted--) {
      places.push_back(draw.between(-1, known));
      const bool outside = places.back() < 0 || places.back() == known;
      shares.push_back(outside ? -0.7 : places.back() == 0 || draw.between(0, 1) ? 1.0 : 0.3);
    }
    plan = {known, widths.data(), levels[0], 1.0 - levels.back(), std::log(2.0), std::log(2.0),
            static_cast<int64_t>(places.size()), places.data(), shares.data()};
  }
  RandomPlan(const RandomPlan &) = delete;
};

using Map = std::unique_ptr<xlstmd_two_layer_map, void (*)(xlstmd_two_layer_map *)>;

Map random_map_of(Draw &draw, int64_t inputs, int64_t outputs) {
  const int64_t hidden = draw.between(1, 40);
  const auto up = draw.numbers<float>(hidden * inputs, 0.2f), up_bias = draw.numbers<float>(hidden);
  const auto down = draw.numbers<float>(outputs * hidden, 0.2f);
  const auto down_bias = draw.numbers<float>(outputs);
  const auto skip = draw.numbers<float>(outputs * inputs, 0.2f);
  return Map(xlstmd_two_layer_map_create(
                 inputs, hidden, outputs, up.data(), up_bias.data(), down.data(), down_bias.data(),
                 skip.data(), nullptr, 0,
                 static_cast<int32_t>(draw.between(XLSTMD_FLOAT32, XLSTMD_INT8))),
             xlstmd_two_layer_map_destroy);
}

void forecast_streams(const Watch &watch, Draw &draw, const xlstmd_stream_network &network,
                      const RandomStreams &all, const int64_t *slots) {
  const int64_t rows = RandomStreams::kRows, horizon = draw.between(1, 3 * all.patch);
  const RandomPlan wanted(draw, all.levels);
  const size_t points = static_cast<size_t>(rows * horizon), more = wanted.places.size() - 1;
  auto mean = unwritten<double>(points), median = unwritten<double>(points);
  auto quantiles = unwritten<double>(points * more);
  std::vector<uint8_t> finite(rows, 7);
  watch.done(xlstmd_streams_forecast(&network, &wanted.plan, rows, slots, horizon, mean.data(),
                                     median.data(), quantiles.data(), finite.data()));
  watch.finite(mean);
  watch.finite(median);
  watch.finite(quantiles);
  for (const uint8_t flag : finite) watch.done(flag - 1);
}

void random_stream_network(const Watch &watch, Draw &draw, xlstmd_pool *pool) {
  const RandomBackbone model(draw);
  const auto norm = draw.numbers<float>(model.width);
  const std::unique_ptr<xlstmd_backbone, void (*)(xlstmd_backbone *)> backbone(
      xlstmd_backbone_create(model.width, static_cast<int64_t>(model.blocks.size()),
                             model.blocks.data(), 0, 1e-5, norm.data(), XLSTMD_FLOAT32),
      xlstmd_backbone_destroy);
  RandomStreams all(draw);
  const int64_t size = xlstmd_backbone_state_size(backbone.get()), rows = RandomStreams::kRows;
  all.states.resize(static_cast<size_t>(RandomStreams::kSlots * size));
  for (int64_t slot = 0; slot < RandomStreams::kSlots; slot++)
    xlstmd_backbone_clear(backbone.get(), all.states.data() + slot * size);
  const Map embedding = random_map_of(draw, all.features(), model.width);
  const Map head = random_map_of(draw, model.width, all.patch * all.levels);
  const xlstmd_stream_network network{
      pool, backbone.get(), embedding.get(), head.get(), all.patch,
      draw.between(0, 1) ? 2 * all.window : -1, &all.streams, RandomStreams::kSlots,
      all.states.data(), all.encoded.data()};
  const int64_t slots[] = {2, 0, 3};
  for (int64_t pieces = draw.between(1, 5); pieces > 0; pieces--) {
    const int64_t counts[] = {draw.between(0, 2 * all.capacity), draw.between(1, 40),
                              draw.between(0, 1)};
    const auto values = draw.numbers<double>(counts[0] + counts[1] + counts[2]);
    std::vector<uint8_t> finite(rows, 7);
    watch.done(xlstmd_streams_append(&network, rows, slots, values.data(), counts, finite.data()));
    for (const uint8_t flag : finite) watch.done(flag - 1);
    const int64_t outputs = draw.between(1, 3);
    auto scaled = unwritten<float>(static_cast<size_t>(rows * outputs * all.patch * all.levels));
    watch.done(xlstmd_streams_quantiles(&network, rows, slots, outputs, scaled.data()));
    watch.finite(scaled);
    forecast_streams(watch, draw, network, all, slots);
  }
  watch.finite(all.states);
  const int64_t twice[] = {1, 2, 1}, none[] = {0, 0, 0};
  uint8_t flags[3];
  watch.checks.status(watch.name + ", a slot twice",
                      xlstmd_streams_append(&network, rows, twice, nullptr, none, flags), 2);
}

// Points of every kind under forecasts that rise, for two streams of which one has just begun.
void random_scores(const Watch &watch, Draw &draw, xlstmd_pool *) {
  const int64_t patch = draw.between(1, 20), remembered = draw.between(1, 60);
  const int64_t levels = draw.between(2, 9);
  const RandomPlan wanted(draw, levels);
  auto quantiles = draw.numbers<double>(2 * patch * levels);
  for (int64_t row = 0; row < 2 * patch; row++)
    std::sort(quantiles.begin() + row * levels, quantiles.begin() + (row + 1) * levels);
  std::vector<float> surprises(static_cast<size_t>(2 * remembered), -INFINITY);
  const int64_t observed[] = {0, patch}, made_at[] = {0, patch}, slots[] = {1, 0};
  const xlstmd_scores scores{patch,    remembered, wanted.levels.data(), &wanted.plan,
                             observed, made_at,    quantiles.data(),     surprises.data()};
  for (int round = 0; round < 3; round++) {
    const int64_t counts[] = {draw.between(0, patch), draw.between(0, 3)};
    auto values = draw.numbers<double>(counts[0] + counts[1], draw.between(0, 1) ? 1.0 : 1e200);
    const double rates[] = {0.01, 0.3};
    auto quantile = unwritten<double>(values.size()), surprise = quantile;
    std::vector<uint8_t> flag(values.size(), 7);
    xlstmd_streams_score(&scores, 2, slots, values.data(), counts, rates, quantile.data(),
                         surprise.data(), flag.data());
    for (size_t i = 0; i < flag.size(); i++) {
      const bool scored = static_cast<int64_t>(i) < counts[0];
      watch.done(flag[i] > 1 || scored != std::isfinite(surprise[i]) ||
                 scored != (quantile[i] >= 0.0 && quantile[i] <= 1.0));
    }
  }
}

struct Kernel {
  const char *name;
  void (*run)(const Watch &, Draw &, xlstmd_pool *);
};

constexpr Kernel kKernels[] = {
    {"map", random_map},
    {"matrix", random_matrix},
    {"gemm f32",
     [](const Watch &watch, Draw &draw, xlstmd_pool *pool) {
       random_gemm<float>(watch, draw,
                          [pool](auto... rest) { return xlstmd_gemm_f32(pool, rest...); });
     }},
    {"gemm f64",
     [](const Watch &watch, Draw &draw, xlstmd_pool *pool) {
       random_gemm<double>(watch, draw,
                           [pool](auto... rest) { return xlstmd_gemm_f64(pool, rest...); });
     }},
    {"linear f32", random_linear<float>},
    {"linear f64", random_linear<double>},
    {"norm f32", random_norm<float>},
    {"norm f64", random_norm<double>},
    {"headwise f32", random_headwise<float>},
    {"headwise f64", random_headwise<double>},
    {"feedforward f32", random_feedforward<float>},
    {"feedforward f64", random_feedforward<double>},
    {"scale", random_scale},
    {"streams", random_streams},
    {"measures", random_measures},
    {"slstm f32", random_slstm<float>},
    {"slstm f64", random_slstm<double>},
    {"mlstm f32", random_mlstm<float>},
    {"mlstm f64", random_mlstm<double>},
    {"conv f32", random_conv<float>},
    {"conv f64", random_conv<double>},
    {"backbone", random_backbone},
    {"stepper", random_stepper},
    {"two-layer map", random_two_layer_map},
    {"stream network", random_stream_network},
    {"scores", random_scores},
};

}  // namespace

// A pool for each kernel: its memory is no larger than this one problem asks for.
void check_random(Checks &checks, int threads, uint64_t seed) {
  for (const Kernel &kernel : kKernels) {
    const std::unique_ptr<xlstmd_pool, void (*)(xlstmd_pool *)> pool(xlstmd_pool_create(threads),
                                                                     xlstmd_pool_destroy);
    Draw draw(seed);
    kernel.run(Watch{checks, std::string(kernel.name) + ", seed " + std::to_string(seed)}, draw,
               pool.get());
  }
}

}  // namespace xlstmd_test
