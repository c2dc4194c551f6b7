// Kernels at the sizes that models have, for counting their instructions.
#include <functional>
#include <memory>

#include "cases.h"

namespace xlstmd_test {
namespace {

// The same numbers on every machine, in [-1, 1).
class Numbers {
 public:
  std::vector<float> operator()(int64_t count, float scale = 1.0f) {
    std::vector<float> numbers(static_cast<size_t>(count));
    for (float &x : numbers) {
      state_ = state_ * 6364136223846793005u + 1442695040888963407u;
      x = scale * (static_cast<float>(state_ >> 40) / 8388608.0f - 1.0f);
    }
    return numbers;
  }

 private:
  uint64_t state_ = 1;
};

// One kernel: `prepare` gives what is to be counted.
struct Bench {
  std::string name;
  std::function<std::function<void()>(xlstmd_pool *)> prepare;
};

std::function<void()> map_bench(xlstmd_pool *, int32_t function) {
  auto x = std::make_shared<std::vector<float>>(Numbers()(65536, 8.0f));
  auto y = std::make_shared<std::vector<float>>(x->size());
  return [=] { xlstmd_map_f32(function, static_cast<int64_t>(x->size()), x->data(), y->data()); };
}

std::function<void()> matrix_bench(xlstmd_pool *pool, int64_t rows, int32_t precision) {
  const int64_t inputs = 512, outputs = 1408;
  Numbers numbers;
  const auto weights = numbers(outputs * inputs);
  const std::shared_ptr<xlstmd_matrix> matrix(
      xlstmd_matrix_create(outputs, inputs, weights.data(), precision), xlstmd_matrix_destroy);
  auto x = std::make_shared<std::vector<float>>(numbers(rows * inputs));
  auto y = std::make_shared<std::vector<float>>(rows * outputs);
  return [=] { xlstmd_matrix_product(pool, matrix.get(), rows, x->data(), nullptr, y->data()); };
}

std::function<void()> gemm_bench(xlstmd_pool *pool) {
  const int64_t m = 512, n = 512, k = 256;
  Numbers numbers;
  auto a = std::make_shared<std::vector<float>>(numbers(m * k));
  auto b = std::make_shared<std::vector<float>>(numbers(k * n));
  auto c = std::make_shared<std::vector<float>>(m * n);
  return [=] { xlstmd_gemm_f32(pool, m, n, k, a->data(), k, 1, b->data(), c->data()); };
}

struct Arrays {
  std::vector<std::vector<float>> kept;
  std::vector<float *> at;

  void add(std::vector<float> array) {
    kept.push_back(std::move(array));
    at.clear();
    for (auto &each : kept) at.push_back(each.data());
  }
  const float *const *read() const { return at.data(); }
  float *const *write() const { return at.data(); }
};

std::function<void()> slstm_bench(xlstmd_pool *pool, int64_t rows, int64_t steps, bool backward) {
  const xlstmd_slstm_problem problem{rows, steps, 4, 128, 0, 0.0, nullptr, nullptr};
  const int64_t width = problem.heads * problem.units;
  auto x = std::make_shared<Arrays>(), start = std::make_shared<Arrays>();
  auto end = std::make_shared<Arrays>();
  Numbers numbers;
  x->add(numbers(rows * steps * 4 * width));          // 0: pre-activations
  x->add(numbers(4 * width * problem.units, 0.05f));  // 1: recurrent weights
  x->add(numbers(rows * steps * width));              // 2: outputs, and their gradient
  x->add(numbers(xlstmd_slstm_saved_f32(&problem)));  // 3
  x->add(numbers(rows * steps * 4 * width));          // 4: gradients
  x->add(numbers(4 * width * problem.units));         // 5
  for (int i = 0; i < 4; i++) {
    start->add(std::vector<float>(rows * width, 1.0f));
    end->add(std::vector<float>(rows * width, 1.0f));
  }
  const auto forward = [=](float *saved) {
    xlstmd_slstm_forward_f32(pool, &problem, x->at[0], x->at[1], start->read(), x->at[2],
                             end->write(), saved);
  };
  if (!backward) return [=] { forward(nullptr); };
  forward(x->at[3]);
  return [=] {
    xlstmd_slstm_backward_f32(pool, &problem, x->at[1], x->at[3], x->at[2], end->read(), x->at[4],
                              x->at[5], start->write());
  };
}

std::function<void()> mlstm_bench(xlstmd_pool *pool, int64_t steps, bool backward) {
  const int64_t heads = 4, width = 128;
  const xlstmd_mlstm_problem problem{1,    heads, steps, width,   width,
                                     1e-6, 0.0,   15.0,  nullptr, nullptr};
  auto inputs = std::make_shared<Arrays>(), d_inputs = std::make_shared<Arrays>();
  auto start = std::make_shared<Arrays>(), end = std::make_shared<Arrays>();
  auto out = std::make_shared<Arrays>();
  Numbers numbers;
  for (const int64_t size : {width, width, width, int64_t(1), int64_t(1)}) {
    inputs->add(numbers(heads * steps * size));
    d_inputs->add(numbers(heads * steps * size));
  }
  for (const int64_t size : {width * width, width, int64_t(1)}) {
    start->add(std::vector<float>(heads * size));
    end->add(std::vector<float>(heads * size));
  }
  out->add(numbers(heads * steps * width));
  out->add(numbers(heads * steps * width));
  out->add(std::vector<float>(xlstmd_mlstm_saved_f32(&problem)));
  const auto forward = [=](float *saved) {
    xlstmd_mlstm_forward_f32(pool, &problem, inputs->read(), start->read(), out->at[0],
                             end->write(), saved);
  };
  if (!backward) return [=] { forward(nullptr); };
  forward(out->at[2]);
  return [=] {
    xlstmd_mlstm_backward_f32(pool, &problem, inputs->read(), start->read(), out->at[0], out->at[2],
                              out->at[1], end->read(), d_inputs->write(), start->write());
  };
}

std::function<void()> conv_bench(xlstmd_pool *pool) {
  const int64_t rows = 4, steps = 64, units = 512, window = 4;
  const xlstmd_conv_problem problem{rows, steps, units, window, nullptr, nullptr};
  auto x = std::make_shared<Arrays>();
  Numbers numbers;
  x->add(numbers(rows * steps * units));
  x->add(numbers(units * window));
  x->add(numbers(units));
  x->add(numbers(rows * (window - 1) * units));
  x->add(numbers(rows * steps * units));
  x->add(numbers(rows * (window - 1) * units));
  return [=] {
    xlstmd_conv_forward_f32(pool, &problem, x->at[0], x->at[1], x->at[2], x->at[3], x->at[4],
                            x->at[5]);
  };
}

// A backbone of two blocks of one kind with random weights.
struct Model {
  int64_t width;
  std::shared_ptr<xlstmd_backbone> backbone;

  Model(int32_t kind, int64_t width, int32_t precision) : width(width) {
    const int64_t heads = 4, units = width / heads, inner = 2 * width, hidden = 2 * width;
    Numbers numbers;
    std::vector<std::vector<float>> kept;
    xlstmd_block block{kind, 0,      0,    1,    heads, units, units, inner, 4,
                       4,    hidden, 1e-5, 1e-5, 0.0,   1e-6,  0.0,   {}};
    if (kind == XLSTMD_BLOCK_PREUP_MLSTM) block.qk_width = block.value_width = inner / heads;
    // Large enough for the weights of every kind.
    for (int place = 0; place < XLSTMD_NUM_WEIGHTS; place++) {
      kept.push_back(numbers(8 * width * width, 0.05f));
      block.weights[place] = kept.back().data();
    }
    const std::vector<xlstmd_block> blocks(2, block);
    backbone.reset(
        xlstmd_backbone_create(width, 2, blocks.data(), 0, 1e-5, kept[0].data(), precision),
        xlstmd_backbone_destroy);
  }
};

std::function<void()> backbone_bench(xlstmd_pool *pool, int32_t kind, int64_t width, int64_t rows,
                                     int64_t steps, int32_t precision = XLSTMD_FLOAT32) {
  const Model model(kind, width, precision);
  const int64_t size = xlstmd_backbone_state_size(model.backbone.get());
  auto arena = std::make_shared<std::vector<float>>(rows * size);
  auto slots = std::make_shared<std::vector<int64_t>>();
  for (int64_t r = 0; r < rows; r++) {
    xlstmd_backbone_clear(model.backbone.get(), arena->data() + r * size);
    slots->push_back(r);
  }
  auto x = std::make_shared<std::vector<float>>(Numbers()(rows * steps * width));
  auto y = std::make_shared<std::vector<float>>(x->size());
  return [=] {
    xlstmd_backbone_forward(pool, model.backbone.get(), rows, steps, steps, x->data(), nullptr,
                            nullptr, rows, arena->data(), slots->data(), slots->data(), y->data());
  };
}

const std::vector<Bench> &benches() {
  static const std::vector<Bench> all = {
      {"exp", [](auto *pool) { return map_bench(pool, XLSTMD_EXP); }},
      {"tanh", [](auto *pool) { return map_bench(pool, XLSTMD_TANH); }},
      {"matrix_float32_rows1", [](auto *pool) { return matrix_bench(pool, 1, XLSTMD_FLOAT32); }},
      {"matrix_float32_rows64", [](auto *pool) { return matrix_bench(pool, 64, XLSTMD_FLOAT32); }},
      {"matrix_bfloat16_rows1", [](auto *pool) { return matrix_bench(pool, 1, XLSTMD_BFLOAT16); }},
      {"matrix_int8_rows1", [](auto *pool) { return matrix_bench(pool, 1, XLSTMD_INT8); }},
      {"gemm", gemm_bench},
      {"slstm_forward_rows1", [](auto *pool) { return slstm_bench(pool, 1, 64, false); }},
      {"slstm_forward_rows64", [](auto *pool) { return slstm_bench(pool, 64, 8, false); }},
      {"slstm_backward_rows64", [](auto *pool) { return slstm_bench(pool, 64, 8, true); }},
      {"mlstm_forward", [](auto *pool) { return mlstm_bench(pool, 512, false); }},
      {"mlstm_backward", [](auto *pool) { return mlstm_bench(pool, 512, true); }},
      {"mlstm_step", [](auto *pool) { return mlstm_bench(pool, 1, false); }},
      {"conv_forward", conv_bench},
      {"backbone_slstm_step",
       [](auto *pool) { return backbone_bench(pool, XLSTMD_BLOCK_SLSTM, 128, 1, 1); }},
      {"backbone_slstm_step_bfloat16",
       [](auto *pool) {
         return backbone_bench(pool, XLSTMD_BLOCK_SLSTM, 128, 1, 1, XLSTMD_BFLOAT16);
       }},
      {"backbone_slstm_prefill",
       [](auto *pool) { return backbone_bench(pool, XLSTMD_BLOCK_SLSTM, 128, 4, 32); }},
      {"backbone_mlstm_step",
       [](auto *pool) { return backbone_bench(pool, XLSTMD_BLOCK_MLSTM, 128, 1, 1); }},
      {"backbone_preup_step",
       [](auto *pool) { return backbone_bench(pool, XLSTMD_BLOCK_PREUP_MLSTM, 128, 1, 1); }},
      {"backbone_preup_prefill",
       [](auto *pool) { return backbone_bench(pool, XLSTMD_BLOCK_PREUP_MLSTM, 128, 1, 64); }},
  };
  return all;
}

}  // namespace

// What callgrind counts, found by its name.
extern "C" __attribute__((noinline)) void xlstmd_counted(const std::function<void()> *work) {
  (*work)();
}

std::vector<std::string> bench_names() {
  std::vector<std::string> names;
  for (const Bench &bench : benches()) names.push_back(bench.name);
  return names;
}

bool run_bench(const std::string &name) {
  for (const Bench &bench : benches()) {
    if (bench.name != name) continue;
    const std::unique_ptr<xlstmd_pool, void (*)(xlstmd_pool *)> pool(xlstmd_pool_create(1),
                                                                     xlstmd_pool_destroy);
    const auto work = bench.prepare(pool.get());
    // The first call also makes its scratch.
    work();
    xlstmd_counted(&work);
    return true;
  }
  return false;
}

}  // namespace xlstmd_test
