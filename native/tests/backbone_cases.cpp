// Whole backbones over an arena of slots: against the modules, in place and apart, row by row.
#include <algorithm>
#include <memory>

#include "cases.h"

namespace xlstmd_test {
namespace {

// Blocks as they are stored, with the memory of their weights.
struct Blocks {
  std::vector<xlstmd_block> specs;
  std::vector<std::vector<float>> weights;
};

Blocks stored_blocks(const Case &c) {
  const int64_t count = c.integer("num_blocks");
  Blocks blocks;
  blocks.weights.reserve(static_cast<size_t>(count * XLSTMD_NUM_WEIGHTS));
  for (int64_t i = 0; i < count; i++) {
    const std::string prefix = "block" + std::to_string(i) + ".";
    const auto whole = [&](const char *name) { return c.integer(prefix + name); };
    const auto real = [&](const char *name) { return c.real(prefix + name); };
    const auto small = [&](const char *name) { return static_cast<int32_t>(whole(name)); };
    xlstmd_block spec{small("kind"),
                      small("rms_norm"),
                      small("exp_forget"),
                      small("gelu"),
                      whole("heads"),
                      whole("qk_width"),
                      whole("value_width"),
                      whole("inner"),
                      whole("projection_block"),
                      whole("conv_window"),
                      whole("hidden"),
                      real("norm_eps"),
                      real("head_norm_eps"),
                      real("cap"),
                      real("eps"),
                      real("stabilizer_start"),
                      {}};
    for (int place = 0; place < XLSTMD_NUM_WEIGHTS; place++) {
      const std::string name = prefix + "weight" + std::to_string(place);
      if (!c.has(name)) continue;
      blocks.weights.push_back(c.numbers<float>(name));
      spec.weights[place] = blocks.weights.back().data();
    }
    blocks.specs.push_back(spec);
  }
  return blocks;
}

// A problem with its inputs, and one backbone that runs it.
struct Run {
  Checks &checks;
  std::string name;
  xlstmd_pool *pool;
  const Case &c;
  xlstmd_backbone *backbone;
  int64_t rows, steps, width, size;
  std::vector<float> x, start;
  std::vector<uint8_t> reset, valid;

  Run(Checks &checks, const std::string &name, xlstmd_pool *pool, const Case &c,
      xlstmd_backbone *backbone)
      : checks(checks),
        name(name),
        pool(pool),
        c(c),
        backbone(backbone),
        rows(c.shape("x")[0]),
        steps(c.shape("x")[1]),
        width(c.shape("x")[2]),
        size(xlstmd_backbone_state_size(backbone)),
        x(c.numbers<float>("x")),
        start(c.numbers<float>("start")),
        reset(c.mask("reset")),
        valid(c.mask("valid")) {}

  // All rows at once, the last `outputs` steps wanted; states from the arena's last slots backward
  // to its first ones.
  std::vector<float> apart(int64_t outputs, std::vector<float> &end) const {
    std::vector<float> arena = unwritten<float>(static_cast<size_t>(2 * rows * size));
    std::vector<int64_t> source, target;
    for (int64_t r = 0; r < rows; r++) {
      source.push_back(2 * rows - 1 - r);
      target.push_back(r);
      std::copy_n(start.data() + r * size, size, arena.data() + source.back() * size);
    }
    auto y = unwritten<float>(static_cast<size_t>(rows * outputs * width));
    checks.status(name,
                  xlstmd_backbone_forward(pool, backbone, rows, steps, outputs, x.data(),
                                          or_null(reset), or_null(valid), 2 * rows, arena.data(),
                                          source.data(), target.data(), y.data()));
    end.assign(arena.begin(), arena.begin() + rows * size);
    return y;
  }

  // In pieces of one row and `length` steps, in place.
  std::vector<float> in_pieces(int64_t length, std::vector<float> &arena) const {
    auto y = unwritten<float>(x.size());
    arena = start;
    for (int64_t at = 0; at < rows * steps; at += length) {
      const int64_t r = at / steps;
      checks.status(
          name, xlstmd_backbone_forward(pool, backbone, 1, length, length, x.data() + at * width,
                                        reset.empty() ? nullptr : reset.data() + at,
                                        valid.empty() ? nullptr : valid.data() + at, rows,
                                        arena.data(), &r, &r, y.data() + at * width));
    }
    return y;
  }

  // The last `outputs` steps of each row, without padded ones, which mean nothing.
  std::vector<float> meant(const std::vector<float> &y, int64_t outputs) const {
    const int64_t held = static_cast<int64_t>(y.size()) / (rows * width);
    std::vector<float> kept;
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 1; i <= outputs; i++) {
        if (!valid.empty() && !valid[(r + 1) * steps - i]) continue;
        const float *from = y.data() + ((r + 1) * held - i) * width;
        kept.insert(kept.end(), from, from + width);
      }
    return kept;
  }

  void all(double limit) const {
    std::vector<float> end, other;
    const auto y = apart(steps, end), whole = meant(y, steps);
    checks.near_by_spread(name + " out", whole, meant(c.numbers<float>("y"), steps), limit);
    checks.near(name + " end", end, c.numbers<float>("end"), limit);
    checks.same(name + " row by row", meant(in_pieces(steps, other), steps), whole);
    checks.same(name + " row by row, end", other, end);
    checks.near_by_spread(name + " step by step", meant(in_pieces(1, other), steps), whole, limit);
    checks.near(name + " step by step, end", other, end, limit);
    for (int64_t outputs = 0; outputs < steps; outputs++) {
      checks.near(name + " last", meant(apart(outputs, other), outputs), meant(y, outputs), 1e-5);
      checks.same(name + " last, end", other, end);
    }
  }

  // The first step of all rows, in place: between maps, before one, after one, and alone.
  void stepped(int32_t precision) const {
    const int64_t inputs = width + 3, outputs = width + 5;
    const Map into(wave(width * inputs), wave(width), width, inputs, precision);
    const Map out_of(wave(outputs * width), {}, outputs, width, precision);
    for (const bool before : {false, true})
      for (const bool after : {false, true})
        stepped(before ? &into : nullptr, after ? &out_of : nullptr);
  }

  // Slots that do not exist or that rows would share: refused, and nothing is written.
  void refusals() const {
    const std::vector<std::vector<int64_t>> pairs[] = {
        {{0, 1}, {0, 2}}, {{0, -1}, {0, 1}}, {{0, 1}, {1, 1}}, {{0, 1}, {1, 0}}, {{0, 0}, {0, 1}}};
    for (const auto &pair : pairs) {
      std::vector<float> arena = start, y = unwritten<float>(x.size());
      arena.resize(static_cast<size_t>(2 * size));
      const auto before = arena;
      checks.status(name + " refusal",
                    xlstmd_backbone_forward(pool, backbone, 2, 1, 1, x.data(), nullptr, nullptr, 2,
                                            arena.data(), pair[0].data(), pair[1].data(), y.data()),
                    2);
      xlstmd_stepper stepper = stepper_of(2, arena, pair[0].data(), pair[1].data());
      stepper.x = x.data();
      stepper.y = y.data();
      checks.status(name + " stepper's refusal", xlstmd_stepper_run(&stepper, 2), 2);
      checks.same(name + " refusal", arena, before);
      checks.same(name + " refusal", y, unwritten<float>(y.size()));
    }
  }

 private:
  struct Map {
    std::vector<float> bias;
    int64_t outputs, inputs;
    std::unique_ptr<xlstmd_matrix, void (*)(xlstmd_matrix *)> matrix;

    Map(const std::vector<float> &weights, std::vector<float> bias, int64_t outputs, int64_t inputs,
        int32_t precision)
        : bias(std::move(bias)),
          outputs(outputs),
          inputs(inputs),
          matrix(xlstmd_matrix_create(outputs, inputs, weights.data(), precision),
                 xlstmd_matrix_destroy) {}
    const float *bias_or_null() const { return bias.empty() ? nullptr : bias.data(); }
  };

  static std::vector<float> wave(int64_t count) {
    std::vector<float> numbers;
    for (int64_t i = 0; i < count; i++) numbers.push_back(0.3f * std::sin(1.7f * float(i)));
    return numbers;
  }

  xlstmd_stepper stepper_of(int64_t slots, std::vector<float> &arena, const int64_t *source,
                            const int64_t *target) const {
    return {pool,  backbone, nullptr,      nullptr, nullptr, nullptr,
            nullptr, slots,  arena.data(), source,  target,  nullptr};
  }

  std::vector<float> mapped(const Map *map, const std::vector<float> &from) const {
    if (map == nullptr) return from;
    auto to = unwritten<float>(static_cast<size_t>(rows * map->outputs));
    checks.status(name, xlstmd_matrix_product(pool, map->matrix.get(), rows, from.data(),
                                              map->bias_or_null(), to.data()));
    return to;
  }

  void stepped(const Map *into, const Map *out_of) const {
    std::vector<int64_t> slots;
    for (int64_t r = 0; r < rows; r++) slots.push_back(rows - 1 - r);
    const auto given = wave(rows * (into ? into->inputs : width));
    const auto between = mapped(into, given);
    auto arena = start, other = start, y = unwritten<float>(static_cast<size_t>(rows * width));
    checks.status(name, xlstmd_backbone_forward(pool, backbone, rows, 1, 1, between.data(), nullptr,
                                                nullptr, rows, arena.data(), slots.data(),
                                                slots.data(), y.data()));
    const auto want = mapped(out_of, y);
    auto got = unwritten<float>(want.size());
    xlstmd_stepper stepper = stepper_of(rows, other, slots.data(), slots.data());
    if (into) stepper.into = into->matrix.get(), stepper.into_bias = into->bias_or_null();
    if (out_of) stepper.out_of = out_of->matrix.get(), stepper.out_of_bias = out_of->bias_or_null();
    stepper.x = given.data();
    stepper.y = got.data();
    checks.status(name + " stepper", xlstmd_stepper_run(&stepper, rows));
    checks.same(name + " stepper", got, want);
    checks.same(name + " stepper, end", other, arena);
  }
};

}  // namespace

void check_backbone(Checks &checks, xlstmd_pool *pool, const Case &c) {
  struct Format {
    const char *name;
    int32_t precision;
    double limit;
  };
  const Format formats[] = {{"float32", XLSTMD_FLOAT32, 1e-5},
                            {"bfloat16", XLSTMD_BFLOAT16, 4e-2},
                            {"int8", XLSTMD_INT8, 5e-2}};
  const Blocks blocks = stored_blocks(c);
  const auto norm = c.numbers<float>("norm");
  for (const Format &format : formats) {
    xlstmd_backbone *backbone =
        xlstmd_backbone_create(c.shape("x")[2], static_cast<int64_t>(blocks.specs.size()),
                               blocks.specs.data(), static_cast<int32_t>(c.integer("rms_norm")),
                               c.real("norm_eps"), norm.data(), format.precision);
    const Run run(checks, "backbone " + c.name() + " " + format.name, pool, c, backbone);
    run.all(format.limit);
    run.stepped(format.precision);
    run.refusals();
    std::vector<float> empty = unwritten<float>(c.numbers<float>("empty").size());
    xlstmd_backbone_clear(backbone, empty.data());
    checks.same("backbone " + c.name() + " empty", empty, c.numbers<float>("empty"));
    xlstmd_backbone_destroy(backbone);
  }
}

}  // namespace xlstmd_test
