/* Runs a graph of a bundle with ONNX Runtime's C API. */
#ifndef GRAPHS_H
#define GRAPHS_H

#include <onnxruntime_c_api.h>
#include <stddef.h>
#include <stdint.h>

#include "rdc.h"

/* An input or output in the program's memory; graphs write where an output says. */
typedef struct tensor {
  const char* name;
  ONNXTensorElementDataType type;
  void* data;
  size_t bytes;
  int64_t shape[4];
  size_t rank;
} tensor;

tensor level_tensor(const char* name, float* value);
tensor slices_tensor(int32_t* value);
tensor symbols_tensor(const char* name, int32_t* data, const uint32_t shape[3]);
tensor pixels_tensor(int8_t* data, const rdc_shapes* shapes);

/* Checks the graph's file and weights.bin by their SHA-256, and runs it. Ends the program where anything fails. */
void run_graph(const rdc_bundle* bundle, const char* folder, const char* graph, const tensor* inputs,
               size_t input_count, const tensor* outputs, size_t output_count);

#endif
