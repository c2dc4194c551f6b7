/* The C interface of the native library. Plain types only; every call may come from any thread.
 *
 * Functions that compute give 0, or 1 when there was no memory for their scratch; nothing is written
 * then. Arrays are dense, the last index runs fastest; `_f32` takes float, `_f64` double. Masks are
 * bytes [rows, steps] and may be null. A pool serves one call at a time; others wait. */
#ifndef XLSTMD_NATIVE_H
#define XLSTMD_NATIVE_H

#include <stdint.h>

#define XLSTMD_EXPORT __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

/* Rises when a function here changes its meaning or its arguments. */
XLSTMD_EXPORT int32_t xlstmd_abi_version(void);

/* The instruction level that this library was built for, for example "x86-64-v4". Never null. */
XLSTMD_EXPORT const char *xlstmd_built_for(void);

/* ---- threads ---- */

typedef struct xlstmd_pool xlstmd_pool;
/* Null when there is no memory. */
XLSTMD_EXPORT xlstmd_pool *xlstmd_pool_create(int32_t threads);

/* A pool on the threads of an OpenMP library that somebody else has loaded: with threads of its own
 * it would wait for cores on which those spin. `run` is its GOMP_parallel, `number` its
 * omp_get_thread_num. */
typedef void (*xlstmd_team_run)(void (*work)(void *), void *data, unsigned threads, unsigned flags);
typedef int (*xlstmd_team_number)(void);
XLSTMD_EXPORT xlstmd_pool *xlstmd_pool_create_on(int32_t threads, xlstmd_team_run run,
                                                 xlstmd_team_number number);
XLSTMD_EXPORT void xlstmd_pool_destroy(xlstmd_pool *pool);

/* ---- functions of single numbers; y may be x ---- */

typedef enum {
  XLSTMD_EXP = 0,
  XLSTMD_LOG = 1,
  XLSTMD_SIGMOID = 2,
  XLSTMD_TANH = 3,
  XLSTMD_LOGSIGMOID = 4,
  XLSTMD_SILU = 5,
  XLSTMD_GELU = 6
} xlstmd_function;
XLSTMD_EXPORT void xlstmd_map_f32(int32_t function, int64_t count, const float *x, float *y);

/* ---- weights packed for many products: y = x W^T + bias ---- */

typedef struct xlstmd_matrix xlstmd_matrix;
typedef enum { XLSTMD_FLOAT32 = 0, XLSTMD_BFLOAT16 = 1, XLSTMD_INT8 = 2 } xlstmd_precision;
/* weights [outputs, inputs], copied. Null when there is no memory. */
XLSTMD_EXPORT xlstmd_matrix *xlstmd_matrix_create(int64_t outputs, int64_t inputs,
                                                  const float *weights, int32_t precision);
XLSTMD_EXPORT void xlstmd_matrix_destroy(xlstmd_matrix *matrix);
/* x [rows, inputs], bias [outputs] or null, y [rows, outputs]. */
XLSTMD_EXPORT int32_t xlstmd_matrix_product(xlstmd_pool *pool, const xlstmd_matrix *matrix,
                                            int64_t rows, const float *x, const float *bias,
                                            float *y);

/* ---- weights that change with every use: the three products of training ---- */

/* c[m, n] = a[m, k] b[k, n]; rows of a lie a_row apart, its columns a_column apart. */
XLSTMD_EXPORT int32_t xlstmd_gemm_f32(xlstmd_pool *pool, int64_t m, int64_t n, int64_t k,
                                      const float *a, int64_t a_row, int64_t a_column,
                                      const float *b, float *c);
XLSTMD_EXPORT int32_t xlstmd_gemm_f64(xlstmd_pool *pool, int64_t m, int64_t n, int64_t k,
                                      const double *a, int64_t a_row, int64_t a_column,
                                      const double *b, double *c);

/* y [rows, outputs] = x [rows, inputs] W^T + bias; weight [outputs, inputs]; bias, and gradients
 * that nobody wants, may be null. */
typedef struct {
  int64_t rows, inputs, outputs;
  int32_t products; /* float32, or bfloat16: rounds what is multiplied; float64 rounds nothing */
} xlstmd_linear_problem;
XLSTMD_EXPORT int32_t xlstmd_linear_forward_f32(xlstmd_pool *pool,
                                                const xlstmd_linear_problem *problem,
                                                const float *x, const float *weight,
                                                const float *bias, float *y);
XLSTMD_EXPORT int32_t xlstmd_linear_forward_f64(xlstmd_pool *pool,
                                                const xlstmd_linear_problem *problem,
                                                const double *x, const double *weight,
                                                const double *bias, double *y);
XLSTMD_EXPORT int32_t xlstmd_linear_backward_f32(xlstmd_pool *pool,
                                                 const xlstmd_linear_problem *problem,
                                                 const float *x, const float *weight,
                                                 const float *dy, float *dx, float *d_weight,
                                                 float *d_bias);
XLSTMD_EXPORT int32_t xlstmd_linear_backward_f64(xlstmd_pool *pool,
                                                 const xlstmd_linear_problem *problem,
                                                 const double *x, const double *weight,
                                                 const double *dy, double *dx, double *d_weight,
                                                 double *d_bias);

/* Maps with diagonal blocks, `parts` of them side by side. x[part] [rows, groups, inputs], parts may
 * share one; weight[part] [groups, inputs, outputs]; bias [parts, groups, outputs] or null;
 * y [rows, parts, groups, outputs]. */
typedef struct {
  int64_t rows, parts, groups, inputs, outputs;
} xlstmd_headwise_problem;
XLSTMD_EXPORT int32_t xlstmd_headwise_forward_f32(xlstmd_pool *pool,
                                                  const xlstmd_headwise_problem *problem,
                                                  const float *const *x, const float *const *weight,
                                                  const float *bias, float *y);
XLSTMD_EXPORT int32_t xlstmd_headwise_forward_f64(
    xlstmd_pool *pool, const xlstmd_headwise_problem *problem, const double *const *x,
    const double *const *weight, const double *bias, double *y);
/* Parts that share an input name the same dx, which gets their sum. d_bias may be null. */
XLSTMD_EXPORT int32_t xlstmd_headwise_backward_f32(
    xlstmd_pool *pool, const xlstmd_headwise_problem *problem, const float *const *x,
    const float *const *weight, const float *dy, float *const *dx, float *const *d_weight,
    float *d_bias);
XLSTMD_EXPORT int32_t xlstmd_headwise_backward_f64(
    xlstmd_pool *pool, const xlstmd_headwise_problem *problem, const double *const *x,
    const double *const *weight, const double *dy, double *const *dx, double *const *d_weight,
    double *d_bias);

/* y = x / deviation * weight over each group of units, less the mean where centered.
 * x and y [rows, groups, units], weight [groups, units]. */
typedef struct {
  int64_t rows, groups, units;
  int32_t centered;
  double eps; /* added to the mean square */
} xlstmd_norm_problem;
XLSTMD_EXPORT int32_t xlstmd_norm_forward_f32(xlstmd_pool *pool, const xlstmd_norm_problem *problem,
                                              const float *x, const float *weight, float *y);
XLSTMD_EXPORT int32_t xlstmd_norm_forward_f64(xlstmd_pool *pool, const xlstmd_norm_problem *problem,
                                              const double *x, const double *weight, double *y);
XLSTMD_EXPORT int32_t xlstmd_norm_backward_f32(xlstmd_pool *pool,
                                               const xlstmd_norm_problem *problem, const float *x,
                                               const float *weight, const float *dy, float *dx,
                                               float *d_weight);
XLSTMD_EXPORT int32_t xlstmd_norm_backward_f64(xlstmd_pool *pool,
                                               const xlstmd_norm_problem *problem, const double *x,
                                               const double *weight, const double *dy, double *dx,
                                               double *d_weight);

/* y = down(activation(gate x) * up x). x and y [rows, width]; weights: gate and up [hidden, width],
 * down [width, hidden]; saved [2, rows, hidden] for the backward pass, or null. */
typedef struct {
  int64_t rows, width, hidden;
  int32_t gelu;     /* else SiLU */
  int32_t products; /* as of a linear map */
} xlstmd_feedforward_problem;
XLSTMD_EXPORT int32_t xlstmd_feedforward_forward_f32(xlstmd_pool *pool,
                                                     const xlstmd_feedforward_problem *problem,
                                                     const float *x, const float *const *weights,
                                                     float *y, float *saved);
XLSTMD_EXPORT int32_t xlstmd_feedforward_forward_f64(xlstmd_pool *pool,
                                                     const xlstmd_feedforward_problem *problem,
                                                     const double *x, const double *const *weights,
                                                     double *y, double *saved);
XLSTMD_EXPORT int32_t xlstmd_feedforward_backward_f32(
    xlstmd_pool *pool, const xlstmd_feedforward_problem *problem, const float *x,
    const float *const *weights, const float *saved, const float *dy, float *dx,
    float *const *d_weights);
XLSTMD_EXPORT int32_t xlstmd_feedforward_backward_f64(
    xlstmd_pool *pool, const xlstmd_feedforward_problem *problem, const double *x,
    const double *const *weights, const double *saved, const double *dy, double *dx,
    double *const *d_weights);

/* ---- sLSTM over a sequence ---- */

typedef struct {
  int64_t rows, steps, heads, units;
  int32_t exp_forget; /* 1: forget gate exp; 0: sigmoid */
  double cap;         /* of input and forget pre-activations; 0 for none */
  const uint8_t *reset, *valid;
} xlstmd_slstm_problem;

/* Numbers that forward saves for backward. */
XLSTMD_EXPORT int64_t xlstmd_slstm_saved_f32(const xlstmd_slstm_problem *problem);
XLSTMD_EXPORT int64_t xlstmd_slstm_saved_f64(const xlstmd_slstm_problem *problem);

/* preacts [rows, steps, 4, heads, units] (gates i, f, z, o); recurrent [heads, units in, 4, units
 * out]; start and end: h, c, n, m [rows, heads, units]; out [rows, steps, heads, units]; saved may
 * be null. */
XLSTMD_EXPORT int32_t xlstmd_slstm_forward_f32(xlstmd_pool *pool,
                                               const xlstmd_slstm_problem *problem,
                                               const float *preacts, const float *recurrent,
                                               const float *const *start, float *out,
                                               float *const *end, float *saved);
XLSTMD_EXPORT int32_t xlstmd_slstm_forward_f64(xlstmd_pool *pool,
                                               const xlstmd_slstm_problem *problem,
                                               const double *preacts, const double *recurrent,
                                               const double *const *start, double *out,
                                               double *const *end, double *saved);
XLSTMD_EXPORT int32_t xlstmd_slstm_backward_f32(
    xlstmd_pool *pool, const xlstmd_slstm_problem *problem, const float *recurrent,
    const float *saved, const float *d_out, const float *const *d_end, float *d_preacts,
    float *d_recurrent, float *const *d_start);
XLSTMD_EXPORT int32_t xlstmd_slstm_backward_f64(
    xlstmd_pool *pool, const xlstmd_slstm_problem *problem, const double *recurrent,
    const double *saved, const double *d_out, const double *const *d_end, double *d_preacts,
    double *d_recurrent, double *const *d_start);

/* ---- mLSTM over a sequence ---- */

typedef struct {
  int64_t rows, heads, steps, qk_width, value_width;
  double eps;              /* added to the denominator */
  double stabilizer_start; /* of an empty memory */
  double cap;              /* of both pre-activations; 0 for none */
  const uint8_t *reset, *valid;
} xlstmd_mlstm_problem;

/* Numbers that forward saves for backward. */
XLSTMD_EXPORT int64_t xlstmd_mlstm_saved_f32(const xlstmd_mlstm_problem *problem);
XLSTMD_EXPORT int64_t xlstmd_mlstm_saved_f64(const xlstmd_mlstm_problem *problem);

/* inputs: q and k [rows, heads, steps, qk_width], v [rows, heads, steps, value_width], i and f
 * [rows, heads, steps]; start and end: C [rows, heads, qk_width, value_width], n [rows, heads,
 * qk_width], m [rows, heads]; out [rows, heads, steps, value_width]; saved may be null. */
XLSTMD_EXPORT int32_t xlstmd_mlstm_forward_f32(xlstmd_pool *pool,
                                               const xlstmd_mlstm_problem *problem,
                                               const float *const *inputs,
                                               const float *const *start, float *out,
                                               float *const *end, float *saved);
XLSTMD_EXPORT int32_t xlstmd_mlstm_forward_f64(xlstmd_pool *pool,
                                               const xlstmd_mlstm_problem *problem,
                                               const double *const *inputs,
                                               const double *const *start, double *out,
                                               double *const *end, double *saved);
/* out is what forward gave; d_inputs and d_start are shaped as inputs and start. */
XLSTMD_EXPORT int32_t xlstmd_mlstm_backward_f32(
    xlstmd_pool *pool, const xlstmd_mlstm_problem *problem, const float *const *inputs,
    const float *const *start, const float *out, const float *saved, const float *d_out,
    const float *const *d_end, float *const *d_inputs, float *const *d_start);
XLSTMD_EXPORT int32_t xlstmd_mlstm_backward_f64(
    xlstmd_pool *pool, const xlstmd_mlstm_problem *problem, const double *const *inputs,
    const double *const *start, const double *out, const double *saved, const double *d_out,
    const double *const *d_end, double *const *d_inputs, double *const *d_start);

/* Steps of one memory in place: what xlstmd_mlstm_forward_f32 does with one step, `problem` that of
 * one step; C, n and m are changed, out is written. */
typedef struct {
  xlstmd_pool *pool;
  const xlstmd_mlstm_problem *problem;
  float *C, *n, *m, *out;
} xlstmd_mlstm_stepper;
XLSTMD_EXPORT int32_t xlstmd_mlstm_stepper_run(const xlstmd_mlstm_stepper *stepper, const float *q,
                                               const float *k, const float *v, const float *i,
                                               const float *f);

/* ---- causal depthwise convolution over a sequence ---- */

typedef struct {
  int64_t rows, steps, units, window;
  const uint8_t *reset, *valid;
} xlstmd_conv_problem;

/* x, y [rows, steps, units]; weight [units, window], the newest step last; bias [units] or null;
 * start and end [rows, window - 1, units]. */
XLSTMD_EXPORT int32_t xlstmd_conv_forward_f32(xlstmd_pool *pool, const xlstmd_conv_problem *problem,
                                              const float *x, const float *weight,
                                              const float *bias, const float *start, float *y,
                                              float *end);
XLSTMD_EXPORT int32_t xlstmd_conv_forward_f64(xlstmd_pool *pool, const xlstmd_conv_problem *problem,
                                              const double *x, const double *weight,
                                              const double *bias, const double *start, double *y,
                                              double *end);
/* d_bias may be null. */
XLSTMD_EXPORT int32_t xlstmd_conv_backward_f32(
    xlstmd_pool *pool, const xlstmd_conv_problem *problem, const float *x, const float *weight,
    const float *start, const float *d_y, const float *d_end, float *d_x, float *d_weight,
    float *d_bias, float *d_start);
XLSTMD_EXPORT int32_t xlstmd_conv_backward_f64(
    xlstmd_pool *pool, const xlstmd_conv_problem *problem, const double *x, const double *weight,
    const double *start, const double *d_y, const double *d_end, double *d_x, double *d_weight,
    double *d_bias, double *d_start);

/* ---- a whole backbone over states in slots ---- */

typedef enum { XLSTMD_BLOCK_SLSTM = 0, XLSTMD_BLOCK_MLSTM = 1, XLSTMD_BLOCK_PREUP_MLSTM = 2 } xlstmd_kind;

/* Places of a block's weights, by the parameters of the torch modules of the same kind. */
typedef enum {
  XLSTMD_NORM = 0,
  XLSTMD_HEAD_NORM,
  XLSTMD_FEEDFORWARD_NORM,
  XLSTMD_FEEDFORWARD_GATE,
  XLSTMD_FEEDFORWARD_UP,
  XLSTMD_FEEDFORWARD_DOWN,
  XLSTMD_CONV_WEIGHT,
  XLSTMD_CONV_BIAS,
  XLSTMD_INPUT_GATE,
  XLSTMD_INPUT_GATE_BIAS,
  XLSTMD_FORGET_GATE,
  XLSTMD_FORGET_GATE_BIAS,
  XLSTMD_CELL_INPUT,
  XLSTMD_OUTPUT_GATE,
  XLSTMD_RECURRENT,
  XLSTMD_BIAS,
  XLSTMD_QUERY,
  XLSTMD_KEY,
  XLSTMD_VALUE,
  XLSTMD_OUT,
  XLSTMD_UP,
  XLSTMD_GATE,
  XLSTMD_SKIP,
  XLSTMD_DOWN,
  XLSTMD_NUM_WEIGHTS
} xlstmd_weight;

typedef struct {
  int32_t kind;
  int32_t rms_norm;    /* 1: RMS norms; 0: layer norms */
  int32_t exp_forget;  /* sLSTM */
  int32_t gelu;        /* activation of the feed-forward gate: 1 GELU, 0 SiLU */
  int64_t heads;
  int64_t qk_width, value_width; /* mLSTM, of a head */
  int64_t inner;                 /* pre-up mLSTM */
  int64_t projection_block;      /* pre-up mLSTM */
  int64_t conv_window;           /* 0 for none */
  int64_t hidden;                /* of the feed-forward layer */
  double norm_eps, head_norm_eps;
  double cap;                    /* of gates; 0 for none */
  double eps, stabilizer_start;  /* mLSTM */
  const float *weights[XLSTMD_NUM_WEIGHTS]; /* null where the kind has none; copied */
} xlstmd_block;

typedef struct xlstmd_backbone xlstmd_backbone;
/* Null when there is no memory. */
XLSTMD_EXPORT xlstmd_backbone *xlstmd_backbone_create(int64_t width, int64_t num_blocks,
                                                      const xlstmd_block *blocks, int32_t rms_norm,
                                                      double norm_eps, const float *norm_weight,
                                                      int32_t precision);
XLSTMD_EXPORT void xlstmd_backbone_destroy(xlstmd_backbone *backbone);
/* Numbers in a slot. */
XLSTMD_EXPORT int64_t xlstmd_backbone_state_size(const xlstmd_backbone *backbone);
/* Bytes of the packed weights. */
XLSTMD_EXPORT int64_t xlstmd_backbone_bytes(const xlstmd_backbone *backbone);
/* Fills one slot with the state before the first step. */
XLSTMD_EXPORT void xlstmd_backbone_clear(const xlstmd_backbone *backbone, float *slot);
/* x [rows, steps, width]; y [rows, outputs, width], of the last `outputs` steps. Row r starts from slot source[r] of the arena and leaves its state in
 * slot target[r]; both may be the same one. A slot that does not exist, or a target that is another
 * row's source or target, gives 2, and nothing is written. A row's result does not depend on the
 * other rows. Padded steps leave the state as it is. */
XLSTMD_EXPORT int32_t xlstmd_backbone_forward(xlstmd_pool *pool, const xlstmd_backbone *backbone,
                                              int64_t rows, int64_t steps, int64_t outputs,
                                              const float *x, const uint8_t *reset,
                                              const uint8_t *valid, int64_t slots, float *arena, const int64_t *source,
                                              const int64_t *target, float *y);

/* ---- steps of streams between two maps, with everything that stays from step to step ---- */

/* A map is a packed matrix and a bias [outputs] or null; a null matrix is no map. x [rows, inputs of
 * `into`, or else width], y [rows, outputs of `out_of`, or else width]; the rest as in
 * xlstmd_backbone_forward. */
typedef struct {
  xlstmd_pool *pool;
  const xlstmd_backbone *backbone;
  const xlstmd_matrix *into;
  const float *into_bias;
  const xlstmd_matrix *out_of;
  const float *out_of_bias;
  const float *x;
  int64_t slots;
  float *arena;
  const int64_t *source, *target;
  float *y;
} xlstmd_stepper;
/* One step of the first rows: what xlstmd_matrix_product, xlstmd_backbone_forward and
 * xlstmd_matrix_product give, to the last bit. */
XLSTMD_EXPORT int32_t xlstmd_stepper_run(const xlstmd_stepper *stepper, int64_t rows);

/* ---- down(activation(up(x))) + skip(x), the maps into and out of a backbone ---- */

typedef struct xlstmd_two_layer_map xlstmd_two_layer_map;
/* up [hidden, inputs], down [outputs, hidden], skip [outputs, inputs]; skip_bias may be null.
 * activation: 0 SiLU, 1 ReLU. */
XLSTMD_EXPORT xlstmd_two_layer_map *xlstmd_two_layer_map_create(
    int64_t inputs, int64_t hidden, int64_t outputs, const float *up, const float *up_bias,
    const float *down, const float *down_bias, const float *skip, const float *skip_bias,
    int32_t activation, int32_t precision);
XLSTMD_EXPORT void xlstmd_two_layer_map_destroy(xlstmd_two_layer_map *map);
XLSTMD_EXPORT int64_t xlstmd_two_layer_map_bytes(const xlstmd_two_layer_map *map);
/* x [rows, inputs], y [rows, outputs]. */
XLSTMD_EXPORT int32_t xlstmd_two_layer_map_run(xlstmd_pool *pool, const xlstmd_two_layer_map *map,
                                               int64_t rows, const float *x, float *y);

/* ---- the scale of a series ---- */

typedef struct {
  double mean, deviation, count, sum, squares;
  int64_t anchor, jumps;
} xlstmd_scale;
/* Moves a scale over points [count] of which `seen` were taken in before. `dropped` takes how many of
 * the first points are forgotten, `renewed` whether the scale was renewed. */
XLSTMD_EXPORT int32_t xlstmd_scale_advance(xlstmd_scale *scale, const double *points, int64_t count,
                                           int64_t seen, int64_t context_length, int64_t *dropped,
                                           int32_t *renewed);

/* ---- streams of a forecaster, each in a slot of arrays that belong to the caller ---- */

typedef struct {
  int64_t capacity; /* points of a slot */
  int64_t context;  /* points that are kept at a renewal */
  int64_t window;   /* points that a token sees */
  double *points;   /* [slots, capacity]; NaN where missing, and behind the known ones */
  int64_t *known, *observed;
  xlstmd_scale *scales;
} xlstmd_streams;
/* Takes points into the contexts of different slots: counts[row] of the values each, one row after
 * the other. renewed [rows] takes whether the scale was renewed. */
XLSTMD_EXPORT int32_t xlstmd_streams_extend(const xlstmd_streams *streams, int64_t rows,
                                            const int64_t *slots, const double *values,
                                            const int64_t *counts, uint8_t *renewed);
/* What the network sees of tokens that stand before the points `ends` [rows, tokens]; fresh likewise,
 * features [rows, tokens, 2 window + 4]. */
XLSTMD_EXPORT void xlstmd_streams_features(const xlstmd_streams *streams, int64_t rows,
                                           const int64_t *slots, int64_t tokens,
                                           const int64_t *ends, const double *fresh,
                                           float *features);

/* ---- quantiles in the units of a series ---- */

/* What is asked of quantile functions, and what of it does not depend on them; see
 * `xlstmd.models.quantiles`. */
typedef struct {
  int64_t known;            /* levels that a network gives, Q */
  const double *widths;     /* [Q - 1], from each of them to the next */
  double low, high;         /* of the lowest one from 0, of the highest one to 1 */
  double low_log, high_log; /* logarithms of how much farther the one next to it lies */
  int64_t wanted;           /* levels that are asked for, the median last */
  /* [wanted]: -1 below the known ones, Q above them, else the first known one that is not lower. */
  const int64_t *places;
  /* [wanted]: logarithms beyond the known ones, else the share of the way to `places`. */
  const double *shares;
} xlstmd_quantile_plan;
/* raw [rows, points, Q] in any order along Q; means and deviations [rows, scales], scales being 1 or
 * `points`. mean and median [rows, points], quantiles [rows, points, wanted - 1]; finite [rows] takes
 * whether all of a row's numbers are. */
XLSTMD_EXPORT int32_t xlstmd_quantiles_in_units(const xlstmd_quantile_plan *plan, int64_t rows,
                                                int64_t points, const double *raw, int64_t scales,
                                                const double *means, const double *deviations,
                                                double *mean, double *median, double *quantiles,
                                                uint8_t *finite);

/* ---- streams and the network that looks at them ---- */

typedef struct {
  xlstmd_pool *pool;
  const xlstmd_backbone *backbone;
  const xlstmd_two_layer_map *embedding, *head; /* into the backbone, and out of it */
  int64_t patch;                                /* points from token to token */
  int64_t added_feature; /* place of the one that is added to every output; -1 for none */
  const xlstmd_streams *streams;
  int64_t slots;
  float *states;    /* [slots, numbers of a state] */
  int64_t *encoded; /* [slots], tokens that lie in the state */
} xlstmd_stream_network;
/* Takes points in as xlstmd_streams_extend does, and moves states on: where the scale was renewed all
 * that the context holds is encoded at once, and then each full patch by itself. finite [rows] takes
 * whether all numbers of the state are. Slots are different ones, or 2 is given and nothing done. */
XLSTMD_EXPORT int32_t xlstmd_streams_append(const xlstmd_stream_network *network, int64_t rows,
                                            const int64_t *slots, const double *values,
                                            const int64_t *counts, uint8_t *finite);
/* Quantiles of the next patches in units of the scale, [rows, outputs, outputs of the head]; no stream
 * is changed. */
XLSTMD_EXPORT int32_t xlstmd_streams_quantiles(const xlstmd_stream_network *network, int64_t rows,
                                               const int64_t *slots, int64_t outputs,
                                               float *quantiles);
/* The next points of each stream in its own units; results as in xlstmd_quantiles_in_units. */
XLSTMD_EXPORT int32_t xlstmd_streams_forecast(const xlstmd_stream_network *network,
                                              const xlstmd_quantile_plan *plan, int64_t rows,
                                              const int64_t *slots, int64_t horizon, double *mean,
                                              double *median, double *quantiles, uint8_t *finite);

/* ---- how unusual points of streams are ---- */

typedef struct {
  int64_t patch, remembered;        /* points of a forecast; surprises that are kept */
  const double *levels;             /* [Q] */
  const xlstmd_quantile_plan *plan; /* of these levels; nothing need be wanted */
  const int64_t *observed, *made_at; /* [slots]: points so far, and when the forecast was made */
  const double *quantiles;          /* [slots, patch, Q], in the units of the series */
  float *surprises;                 /* [slots, remembered], newest last; -inf before the first */
} xlstmd_scores;
/* Scores the next points of different slots, counts[row] of the values each, all under the forecast
 * that stands there; rates [rows] of flags. quantile, surprise and flag take a number for each value;
 * NaN, and no flag, where the value is missing or no forecast stands. */
XLSTMD_EXPORT void xlstmd_streams_score(const xlstmd_scores *scores, int64_t rows,
                                        const int64_t *slots, const double *values,
                                        const int64_t *counts, const double *rates,
                                        double *quantile, double *surprise, uint8_t *flag);

/* ---- what the machine can do at most, all threads of a pool together ---- */

/* Thousands of millions of float operations a second, from registers. */
XLSTMD_EXPORT double xlstmd_measure_fma(xlstmd_pool *pool, double seconds);
/* Thousands of millions of bytes a second; each thread reads so many of its own, again and again. 0
 * when there is no memory. */
XLSTMD_EXPORT double xlstmd_measure_read(xlstmd_pool *pool, int64_t bytes, double seconds);

#ifdef __cplusplus
}
#endif
#endif
