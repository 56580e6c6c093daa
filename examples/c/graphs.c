#include "graphs.h"

#include <stdlib.h>

#include "files.h"

enum { MOST = 8 }; /* inputs or outputs of a graph */

static const OrtApi* ort;

static void check_ort(OrtStatus* status, const char* what) {
  if (status) fail(what, ort->GetErrorMessage(status));
}

tensor level_tensor(const char* name, float* value) {
  tensor found = {name, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, value, sizeof *value, {1}, 1};
  return found;
}

tensor slices_tensor(int32_t* value) {
  tensor found = {"slices", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, value, sizeof *value, {1}, 1};
  return found;
}

tensor symbols_tensor(const char* name, int32_t* data, const uint32_t shape[3]) {
  tensor found = {name,
                  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
                  data,
                  (size_t)shape[0] * shape[1] * shape[2] * sizeof *data,
                  {1, shape[0], shape[1], shape[2]},
                  4};
  return found;
}

tensor pixels_tensor(int8_t* data, const rdc_shapes* shapes) {
  tensor found = {"pixels",
                  ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
                  data,
                  (size_t)3 * shapes->padded_width * shapes->padded_height,
                  {1, shapes->padded_height, shapes->padded_width, 3},
                  4};
  return found;
}

static void check_file(const rdc_bundle* bundle, const char* folder, const char* name) {
  char* path = path_in(folder, name);
  bytes file = read_file(path);
  check(rdc_bundle_check_file(bundle, name, file.data, file.size), path);
  free(file.data);
  free(path);
}

static void make_values(const OrtMemoryInfo* memory, const tensor* tensors, size_t count, const char** names,
                        OrtValue** values) {
  if (count > MOST) fail("graph", "too many inputs or outputs");
  for (size_t k = 0; k < count; ++k) {
    const tensor* t = &tensors[k];
    names[k] = t->name;
    check_ort(ort->CreateTensorWithDataAsOrtValue(memory, t->data, t->bytes, t->shape, t->rank, t->type, &values[k]),
              t->name);
  }
}

void run_graph(const rdc_bundle* bundle, const char* folder, const char* graph, const tensor* inputs,
               size_t input_count, const tensor* outputs, size_t output_count) {
  const char *file = rdc_bundle_graph(bundle, graph), *in_names[MOST], *out_names[MOST];
  OrtValue *in_values[MOST], *out_values[MOST];
  OrtEnv* env;
  OrtSessionOptions* options;
  OrtSession* session;
  OrtMemoryInfo* memory;
  if (!file) fail(graph, "the bundle has no such graph");
  check_file(bundle, folder, file);
  check_file(bundle, folder, "weights.bin");

  ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
  if (!ort) fail("ONNX Runtime", "the library is older than the headers");
  char* path = path_in(folder, file);
  check_ort(ort->CreateEnv(ORT_LOGGING_LEVEL_WARNING, "rdc", &env), "ONNX Runtime");
  check_ort(ort->CreateSessionOptions(&options), "ONNX Runtime");
  check_ort(ort->CreateSession(env, path, options, &session), path);
  check_ort(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory), "ONNX Runtime");
  make_values(memory, inputs, input_count, in_names, in_values);
  make_values(memory, outputs, output_count, out_names, out_values);
  check_ort(ort->Run(session, NULL, in_names, (const OrtValue* const*)in_values, input_count, out_names, output_count,
                     out_values),
            path);

  for (size_t k = 0; k < input_count; ++k) ort->ReleaseValue(in_values[k]);
  for (size_t k = 0; k < output_count; ++k) ort->ReleaseValue(out_values[k]);
  ort->ReleaseMemoryInfo(memory);
  ort->ReleaseSession(session);
  ort->ReleaseSessionOptions(options);
  ort->ReleaseEnv(env);
  free(path);
}
