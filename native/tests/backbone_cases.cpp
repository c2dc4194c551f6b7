// Whole backbones over an arena of slots: against the modules, in place and apart, row by row.
#include <algorithm>

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
    xlstmd_block spec{small("kind"), small("rms_norm"), small("exp_forget"), small("gelu"),
                      whole("heads"), whole("qk_width"), whole("value_width"), whole("inner"),
                      whole("projection_block"), whole("conv_window"), whole("hidden"),
                      real("norm_eps"), real("head_norm_eps"), real("cap"), real("eps"),
                      real("stabilizer_start"), {}};
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
  xlstmd_pool *pool;
  const Case &c;
  xlstmd_backbone *backbone;
  int64_t rows, steps, width, size;
  std::vector<float> x, start;
  std::vector<uint8_t> reset, valid;

  Run(xlstmd_pool *pool, const Case &c, xlstmd_backbone *backbone)
      : pool(pool), c(c), backbone(backbone), rows(c.shape("x")[0]), steps(c.shape("x")[1]),
        width(c.shape("x")[2]), size(xlstmd_backbone_state_size(backbone)),
        x(c.numbers<float>("x")), start(c.numbers<float>("start")), reset(c.mask("reset")),
        valid(c.mask("valid")) {}

  // All rows at once; states from the arena's last slots backward to its first ones.
  std::vector<float> apart(std::vector<float> &end) const {
    std::vector<float> arena = unwritten<float>(static_cast<size_t>(2 * rows * size));
    std::vector<int64_t> source, target;
    for (int64_t r = 0; r < rows; r++) {
      source.push_back(2 * rows - 1 - r);
      target.push_back(r);
      std::copy_n(start.data() + r * size, size, arena.data() + source.back() * size);
    }
    auto y = unwritten<float>(x.size());
    xlstmd_backbone_forward(pool, backbone, rows, steps, x.data(), or_null(reset), or_null(valid),
                            2 * rows, arena.data(), source.data(), target.data(), y.data());
    end.assign(arena.begin(), arena.begin() + rows * size);
    return y;
  }

  // Row by row, in place.
  std::vector<float> in_place(std::vector<float> &arena) const {
    auto y = unwritten<float>(x.size());
    arena = start;
    for (int64_t r = 0; r < rows; r++)
      xlstmd_backbone_forward(pool, backbone, 1, steps, x.data() + r * steps * width,
                              reset.empty() ? nullptr : reset.data() + r * steps,
                              valid.empty() ? nullptr : valid.data() + r * steps, rows,
                              arena.data(), &r, &r, y.data() + r * steps * width);
    return y;
  }

  // Step by step, in place.
  std::vector<float> stepwise(std::vector<float> &arena) const {
    auto y = unwritten<float>(x.size());
    arena = start;
    for (int64_t i = 0; i < rows * steps; i++) {
      const int64_t r = i / steps;
      xlstmd_backbone_forward(pool, backbone, 1, 1, x.data() + i * width,
                              reset.empty() ? nullptr : reset.data() + i,
                              valid.empty() ? nullptr : valid.data() + i, rows, arena.data(), &r, &r,
                              y.data() + i * width);
    }
    return y;
  }

  // Without the outputs of padded steps, which mean nothing.
  std::vector<float> meant(const std::vector<float> &y) const {
    std::vector<float> kept;
    for (int64_t i = 0; i < rows * steps; i++)
      if (valid.empty() || valid[i])
        kept.insert(kept.end(), y.begin() + i * width, y.begin() + (i + 1) * width);
    return kept;
  }
};

void check_run(Checks &checks, const Run &run, const std::string &name, double limit) {
  std::vector<float> end, arena, stepped;
  const auto y = run.meant(run.apart(end));
  checks.near_by_spread(name + " out", y, run.meant(run.c.numbers<float>("y")), limit);
  checks.near(name + " end", end, run.c.numbers<float>("end"), limit);
  checks.same(name + " row by row", run.meant(run.in_place(arena)), y);
  checks.same(name + " row by row, end", arena, end);
  checks.near_by_spread(name + " step by step", run.meant(run.stepwise(stepped)), y, limit);
  checks.near(name + " step by step, end", stepped, end, limit);
}

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
    xlstmd_backbone *backbone = xlstmd_backbone_create(
        c.shape("x")[2], static_cast<int64_t>(blocks.specs.size()), blocks.specs.data(),
        static_cast<int32_t>(c.integer("rms_norm")), c.real("norm_eps"), norm.data(),
        format.precision);
    check_run(checks, Run(pool, c, backbone), "backbone " + c.name() + " " + format.name,
              format.limit);
    std::vector<float> empty = unwritten<float>(c.numbers<float>("empty").size());
    xlstmd_backbone_clear(backbone, empty.data());
    checks.same("backbone " + c.name() + " empty", empty, c.numbers<float>("empty"));
    xlstmd_backbone_destroy(backbone);
  }
}

}  // namespace xlstmd_test
