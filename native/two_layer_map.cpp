#include "two_layer_map.h"

#include "block.h"
#include "guard.h"
#include "vecmath.h"

void xlstmd_two_layer_map::run(xlstmd_pool &pool, int64_t rows, const float *x, float *y,
                               void *scratch) const {
  xlstmd::Pieces memory(scratch);
  float *between = memory.take<float>(static_cast<size_t>(rows * hidden));
  void *ready = memory.take<char>(prepared(rows));
  xlstmd::product(pool, up, x, inputs, rows, ready, [&](const xlstmd::Outputs &out) {
    for (int r = 0; r < out.rows; r++) {
      float *to = between + (out.row + r) * hidden + out.column;
      xlstmd::each_vector(out.at + r * xlstmd::kPanel<float>, out.columns,
                          [&](xlstmd::VecF v, int64_t i, int lanes) {
                            v += xlstmd::load_some<float>(&up_bias[out.column + i], lanes);
                            v = relu ? xlstmd::pick(v < 0.0f, xlstmd::VecF{}, v) : xlstmd::vsilu(v);
                            xlstmd::store_some<float>(to + i, v, lanes);
                          });
    }
  });
  xlstmd::product(pool, down, between, hidden, rows, ready,
                  xlstmd::Store{y, outputs, bias.data()});
  xlstmd::product(pool, skip, x, inputs, rows, ready, xlstmd::Add{y, outputs});
}

extern "C" xlstmd_two_layer_map *xlstmd_two_layer_map_create(
    int64_t inputs, int64_t hidden, int64_t outputs, const float *up, const float *up_bias,
    const float *down, const float *down_bias, const float *skip, const float *skip_bias,
    int32_t activation, int32_t precision) {
  return xlstmd::made([&] {
    const auto format = static_cast<xlstmd::Precision>(precision);
    std::vector<float> bias(down_bias, down_bias + outputs);
    for (int64_t i = 0; skip_bias != nullptr && i < outputs; i++) bias[i] += skip_bias[i];
    return new xlstmd_two_layer_map{inputs,
                                    hidden,
                                    outputs,
                                    activation == 1,
                                    xlstmd::Matrix(hidden, inputs, up, format),
                                    xlstmd::Matrix(outputs, hidden, down, format),
                                    xlstmd::Matrix(outputs, inputs, skip, format),
                                    {up_bias, up_bias + hidden},
                                    std::move(bias)};
  });
}

extern "C" void xlstmd_two_layer_map_destroy(xlstmd_two_layer_map *map) { delete map; }

extern "C" int64_t xlstmd_two_layer_map_bytes(const xlstmd_two_layer_map *map) {
  return static_cast<int64_t>(map->up.bytes() + map->down.bytes() + map->skip.bytes());
}

extern "C" int32_t xlstmd_two_layer_map_run(xlstmd_pool *pool, const xlstmd_two_layer_map *map,
                                            int64_t rows, const float *x, float *y) {
  return xlstmd::guarded([&] {
    const auto lock = pool->enter(map->work(rows));
    map->run(*pool, rows, x, y, pool->shared(map->scratch_bytes(rows)));
  });
}
