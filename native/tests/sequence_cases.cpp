// The recurrences over a sequence and the convolution, forward and backward, in both precisions.
#include "cases.h"

namespace xlstmd_test {
namespace {

const std::vector<std::string> kSLSTMState = {"h", "c", "n", "m"};
const std::vector<std::string> kMLSTMState = {"C", "n", "m"};
const std::vector<std::string> kMLSTMInputs = {"q", "k", "v", "i", "f"};

template <class T>
void check_slstm_of(Checks &checks, xlstmd_pool *pool, const Case &c) {
  const auto &shape = c.shape("preacts");
  const auto reset = c.mask("reset"), valid = c.mask("valid");
  const xlstmd_slstm_problem problem{shape[0],
                                     shape[1],
                                     shape[3],
                                     shape[4],
                                     static_cast<int32_t>(c.integer("exp_forget")),
                                     c.real("cap"),
                                     or_null(reset),
                                     or_null(valid)};
  const auto preacts = c.numbers<T>("preacts"), recurrent = c.numbers<T>("recurrent");
  const auto start = Parts<T>::stored(c, "start", kSLSTMState);
  const auto want = c.numbers<T>("out");
  const std::string name = "slstm " + c.name() + kKind<T>;

  auto end = start.unwritten_like();
  auto out = unwritten<T>(want.size());
  auto saved = unwritten<T>(static_cast<size_t>(Native<T>::slstm_saved(&problem)));
  checks.status(
      name, Native<T>::slstm_forward(pool, &problem, preacts.data(), recurrent.data(), start.read(),
                                     out.data(), end.write(), saved.data()));
  checks.near(name + " out", out, want, kTolerance<T>);
  end.near(checks, name + " end", Parts<T>::stored(c, "end", kSLSTMState), kTolerance<T>);

  auto d_preacts = unwritten<T>(preacts.size()), d_recurrent = unwritten<T>(recurrent.size());
  auto d_start = start.unwritten_like();
  checks.status(name,
                Native<T>::slstm_backward(pool, &problem, recurrent.data(), saved.data(),
                                          c.numbers<T>("d_out").data(),
                                          Parts<T>::stored(c, "d_end", kSLSTMState).read(),
                                          d_preacts.data(), d_recurrent.data(), d_start.write()));
  checks.near(name + " d_preacts", d_preacts, c.numbers<T>("d_preacts"), kTolerance<T>);
  checks.near(name + " d_recurrent", d_recurrent, c.numbers<T>("d_recurrent"), kTolerance<T>);
  d_start.near(checks, name + " d_start", Parts<T>::stored(c, "d_start", kSLSTMState),
               kTolerance<T>);

  auto unsaved = unwritten<T>(want.size());
  checks.status(name, Native<T>::slstm_forward(pool, &problem, preacts.data(), recurrent.data(),
                                               start.read(), unsaved.data(), end.write(), nullptr));
  checks.near(name + " without saving", unsaved, out, 0.0);
}

template <class T>
void check_mlstm_of(Checks &checks, xlstmd_pool *pool, const Case &c) {
  const auto &keys = c.shape("in_k"), &values = c.shape("in_v");
  const auto reset = c.mask("reset"), valid = c.mask("valid");
  const xlstmd_mlstm_problem problem{keys[0],
                                     keys[1],
                                     keys[2],
                                     keys[3],
                                     values[3],
                                     c.real("eps"),
                                     c.real("stabilizer_start"),
                                     c.real("cap"),
                                     or_null(reset),
                                     or_null(valid)};
  const auto inputs = Parts<T>::stored(c, "in", kMLSTMInputs);
  const auto start = Parts<T>::stored(c, "start", kMLSTMState);
  const auto want = c.numbers<T>("out");
  const std::string name = "mlstm " + c.name() + kKind<T>;

  auto end = start.unwritten_like();
  auto out = unwritten<T>(want.size());
  auto saved = unwritten<T>(static_cast<size_t>(Native<T>::mlstm_saved(&problem)));
  checks.status(name, Native<T>::mlstm_forward(pool, &problem, inputs.read(), start.read(),
                                               out.data(), end.write(), saved.data()));
  checks.near(name + " out", out, want, kTolerance<T>);
  end.near(checks, name + " end", Parts<T>::stored(c, "end", kMLSTMState), kTolerance<T>);

  auto d_inputs = inputs.unwritten_like(), d_start = start.unwritten_like();
  checks.status(name,
                Native<T>::mlstm_backward(pool, &problem, inputs.read(), start.read(), out.data(),
                                          saved.data(), c.numbers<T>("d_out").data(),
                                          Parts<T>::stored(c, "d_end", kMLSTMState).read(),
                                          d_inputs.write(), d_start.write()));
  d_inputs.near(checks, name + " d_in", Parts<T>::stored(c, "d_in", kMLSTMInputs), kTolerance<T>);
  d_start.near(checks, name + " d_start", Parts<T>::stored(c, "d_start", kMLSTMState),
               kTolerance<T>);

  auto unsaved = unwritten<T>(want.size());
  checks.status(name, Native<T>::mlstm_forward(pool, &problem, inputs.read(), start.read(),
                                               unsaved.data(), end.write(), nullptr));
  checks.near(name + " without saving", unsaved, out, 0.0);
}

template <class T>
void check_conv_of(Checks &checks, xlstmd_pool *pool, const Case &c) {
  const auto &shape = c.shape("x");
  const auto reset = c.mask("reset"), valid = c.mask("valid");
  const xlstmd_conv_problem problem{shape[0],       shape[1],      shape[2], c.shape("weight")[1],
                                    or_null(reset), or_null(valid)};
  const auto x = c.numbers<T>("x"), weight = c.numbers<T>("weight"), start = c.numbers<T>("start");
  const auto bias = c.has("bias") ? c.numbers<T>("bias") : std::vector<T>();
  const T *bias_at = bias.empty() ? nullptr : bias.data();
  const std::string name = "conv " + c.name() + kKind<T>;

  auto y = unwritten<T>(x.size()), end = unwritten<T>(start.size());
  checks.status(name, Native<T>::conv_forward(pool, &problem, x.data(), weight.data(), bias_at,
                                              start.data(), y.data(), end.data()));
  checks.near(name + " y", y, c.numbers<T>("y"), kTolerance<T>);
  checks.near(name + " end", end, c.numbers<T>("end"), kTolerance<T>);

  auto d_x = unwritten<T>(x.size()), d_weight = unwritten<T>(weight.size());
  auto d_bias = unwritten<T>(bias.size()), d_start = unwritten<T>(start.size());
  checks.status(name, Native<T>::conv_backward(
                          pool, &problem, x.data(), weight.data(), start.data(),
                          c.numbers<T>("d_y").data(), c.numbers<T>("d_end").data(), d_x.data(),
                          d_weight.data(), bias.empty() ? nullptr : d_bias.data(), d_start.data()));
  checks.near(name + " d_x", d_x, c.numbers<T>("d_x"), kTolerance<T>);
  checks.near(name + " d_weight", d_weight, c.numbers<T>("d_weight"), kTolerance<T>);
  checks.near(name + " d_start", d_start, c.numbers<T>("d_start"), kTolerance<T>);
  if (!bias.empty()) checks.near(name + " d_bias", d_bias, c.numbers<T>("d_bias"), kTolerance<T>);
}

}  // namespace

void check_slstm(Checks &checks, xlstmd_pool *pool, const Case &c) {
  check_slstm_of<float>(checks, pool, c);
  check_slstm_of<double>(checks, pool, c);
}

void check_mlstm(Checks &checks, xlstmd_pool *pool, const Case &c) {
  check_mlstm_of<float>(checks, pool, c);
  check_mlstm_of<double>(checks, pool, c);
}

void check_conv(Checks &checks, xlstmd_pool *pool, const Case &c) {
  check_conv_of<float>(checks, pool, c);
  check_conv_of<double>(checks, pool, c);
}

}  // namespace xlstmd_test
