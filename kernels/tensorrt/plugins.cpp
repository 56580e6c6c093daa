// The fused operations as TensorRT plugins: IPluginV3, dynamic shapes, float32 and float16, linear and channel-last.
//
// A library that needs no TensorRT symbol at link time: it exports getCreators and setLoggerFinder only, and
// TensorRT calls those. Namespace "rdc", version "1", as the nodes of a bundle say (export/function_bodies.py).
#include <NvInferRuntime.h>

#include <array>
#include <cstring>
#include <new>
#include <string>
#include <type_traits>

#include "../cuda/kernels.h"

namespace {

using namespace nvinfer1;

constexpr char kNamespace[] = "rdc";
constexpr char kVersion[] = "1";
constexpr int kStride = 8, kImageChannels = 192;

ILoggerFinder* logger_finder = nullptr;

void log_error(const char* message) noexcept {
  ILogger* logger = logger_finder ? logger_finder->findLogger() : nullptr;
  if (logger) logger->log(ILogger::Severity::kERROR, message);
}

// --- formats ----------------------------------------------------------------------------------------------------

bool is_linear(const PluginTensorDesc& d, DataType type) { return d.format == TensorFormat::kLINEAR && d.type == type; }

// Values of a latent or a folded picture. The vectors of kHWC8 are full, as the kernels know no padding.
bool is_values(const PluginTensorDesc& d) {
  if (d.type == DataType::kFLOAT) return d.format == TensorFormat::kLINEAR || d.format == TensorFormat::kHWC;
  if (d.type != DataType::kHALF) return false;
  return d.format == TensorFormat::kLINEAR ||
         (d.format == TensorFormat::kHWC8 && d.dims.nbDims == 4 && d.dims.d[1] % 8 == 0);
}

bool is_same(const PluginTensorDesc& a, const PluginTensorDesc& b) { return a.type == b.type && a.format == b.format; }

rdc::Type type_of(const PluginTensorDesc& d) {
  return d.type == DataType::kHALF ? rdc::Type::kHalf : rdc::Type::kFloat;
}

rdc::Layout layout_of(const PluginTensorDesc& d) {
  return d.format == TensorFormat::kLINEAR ? rdc::Layout::kPlanar : rdc::Layout::kChannelLast;
}

rdc::Shape shape_of(const PluginTensorDesc& d) {
  const auto size = [&](int i) { return static_cast<int32_t>(d.dims.d[i]); };
  return {size(0), size(1), size(2), size(3)};
}

// --- the four operations ----------------------------------------------------------------------------------------
//
// Each says what one number it is parameterised with (a field of the node, 0 if none), which combinations of types and
// formats it takes, what it puts out and which launcher does the work.

struct ImageToTensor {
  static constexpr char kName[] = "ImageToTensor";
  static constexpr char kField[] = "to";  // ONNX's element type: 1 float32, 10 float16
  static constexpr int kInputs = 1, kOutputs = 1;

  static bool is_possible(int field) { return field == 1 || field == 10; }
  static DataType output_type(int, const DataType*, int field) {
    return field == 10 ? DataType::kHALF : DataType::kFLOAT;
  }
  static bool supports(int pos, const PluginTensorDesc* d, int field) {
    return pos == 0 ? is_linear(d[0], DataType::kINT8) : is_values(d[1]) && d[1].type == output_type(0, nullptr, field);
  }
  static DimsExprs output_shape(int, const DimsExprs* in, IExprBuilder& build) {
    const auto eighth = [&](const IDimensionExpr* side) {
      return build.operation(DimensionOperation::kFLOOR_DIV, *side, *build.constant(kStride));
    };
    DimsExprs out{};
    out.nbDims = 4;
    out.d[0] = in[0].d[0], out.d[1] = build.constant(kImageChannels);
    out.d[2] = eighth(in[0].d[1]), out.d[3] = eighth(in[0].d[2]);
    return out;
  }
  static int launch(const PluginTensorDesc*, const PluginTensorDesc* out, const void* const* in, void* const* result,
                    int, void* stream) {
    return rdc::image_to_tensor(static_cast<const int8_t*>(in[0]), result[0], shape_of(out[0]), type_of(out[0]),
                                layout_of(out[0]), stream);
  }
};

struct BlendToImage {
  static constexpr char kName[] = "BlendToImage";
  static constexpr const char* kField = nullptr;
  static constexpr int kInputs = 3, kOutputs = 1;  // x1, r, beta

  static bool is_possible(int) { return true; }
  static DataType output_type(int, const DataType*, int) { return DataType::kINT8; }
  static bool supports(int pos, const PluginTensorDesc* d, int) {
    switch (pos) {
      case 0:
        return is_values(d[0]);
      case 1:
        return is_same(d[1], d[0]);
      case 2:
        return is_linear(d[2], DataType::kFLOAT);
      default:
        return is_linear(d[3], DataType::kINT8);
    }
  }
  static DimsExprs output_shape(int, const DimsExprs* in, IExprBuilder& build) {
    const auto eightfold = [&](const IDimensionExpr* side) {
      return build.operation(DimensionOperation::kPROD, *side, *build.constant(kStride));
    };
    DimsExprs out{};
    out.nbDims = 4;
    out.d[0] = in[0].d[0], out.d[1] = eightfold(in[0].d[2]), out.d[2] = eightfold(in[0].d[3]);
    out.d[3] = build.constant(3);
    return out;
  }
  static int launch(const PluginTensorDesc* d, const PluginTensorDesc*, const void* const* in, void* const* result, int,
                    void* stream) {
    return rdc::blend_to_image(in[0], in[1], static_cast<const float*>(in[2]), static_cast<int8_t*>(result[0]),
                               shape_of(d[0]), type_of(d[0]), layout_of(d[0]), stream);
  }
};

struct GainQuantize {
  static constexpr char kName[] = "GainQuantize";
  static constexpr char kField[] = "pass";
  static constexpr int kInputs = 5, kOutputs = 2;  // y, mean, gains, level, acc -> symbols, decoded

  static bool is_possible(int field) { return field >= -1 && field <= 3; }
  static DataType output_type(int index, const DataType* in, int) { return index == 0 ? DataType::kINT32 : in[4]; }
  static bool supports(int pos, const PluginTensorDesc* d, int) {
    switch (pos) {
      case 0:
        return is_values(d[0]);
      case 2:
      case 3:
        return is_linear(d[pos], DataType::kFLOAT);
      case 5:
        return is_linear(d[5], DataType::kINT32);  // no channel-last format takes integers
      default:
        return is_same(d[pos], d[0]);
    }
  }
  static DimsExprs output_shape(int, const DimsExprs* in, IExprBuilder&) { return in[0]; }
  static int launch(const PluginTensorDesc* d, const PluginTensorDesc*, const void* const* in, void* const* result,
                    int field, void* stream) {
    return rdc::gain_quantize(in[0], in[1], static_cast<const float*>(in[2]), static_cast<const float*>(in[3]), in[4],
                              static_cast<int32_t*>(result[0]), result[1], shape_of(d[0]),
                              static_cast<int32_t>(d[2].dims.d[0]), field, type_of(d[0]), layout_of(d[0]),
                              rdc::Layout::kPlanar, stream);
  }
};

struct GainDequantize {
  static constexpr char kName[] = "GainDequantize";
  static constexpr char kField[] = "pass";
  static constexpr int kInputs = 3, kOutputs = 1;  // symbols, mean, acc -> decoded

  static bool is_possible(int field) { return GainQuantize::is_possible(field); }
  static DataType output_type(int, const DataType* in, int) { return in[2]; }
  static bool supports(int pos, const PluginTensorDesc* d, int) {
    switch (pos) {
      case 0:
        return is_linear(d[0], DataType::kINT32);
      case 1:
        return is_values(d[1]);
      default:
        return is_same(d[pos], d[1]);
    }
  }
  static DimsExprs output_shape(int, const DimsExprs* in, IExprBuilder&) { return in[2]; }
  static int launch(const PluginTensorDesc* d, const PluginTensorDesc*, const void* const* in, void* const* result,
                    int field, void* stream) {
    return rdc::gain_dequantize(static_cast<const int32_t*>(in[0]), in[1], in[2], result[0], shape_of(d[2]), field,
                                type_of(d[1]), layout_of(d[1]), rdc::Layout::kPlanar, stream);
  }
};

template <typename Op>
constexpr int kFields = std::is_array_v<std::remove_reference_t<decltype((Op::kField))>> ? 1 : 0;

// --- the shell --------------------------------------------------------------------------------------------------

template <typename Op>
class Plugin final : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime {
 public:
  explicit Plugin(int32_t field) : field_(field), timing_id_(std::string(Op::kName) + ":" + std::to_string(field)) {}

  IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override {
    switch (type) {
      case PluginCapabilityType::kCORE:
        return static_cast<IPluginV3OneCore*>(this);
      case PluginCapabilityType::kBUILD:
        return static_cast<IPluginV3OneBuild*>(this);
      case PluginCapabilityType::kRUNTIME:
        return static_cast<IPluginV3OneRuntime*>(this);
    }
    return nullptr;
  }

  IPluginV3* clone() noexcept override { return new (std::nothrow) Plugin(field_); }

  const char* getPluginName() const noexcept override { return Op::kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }

  int32_t getNbOutputs() const noexcept override { return Op::kOutputs; }

  int32_t configurePlugin(const DynamicPluginTensorDesc*, int32_t inputs, const DynamicPluginTensorDesc*,
                          int32_t outputs) noexcept override {
    return inputs == Op::kInputs && outputs == Op::kOutputs ? 0 : -1;
  }

  int32_t getOutputDataTypes(DataType* types, int32_t outputs, const DataType* in,
                             int32_t inputs) const noexcept override {
    if (inputs != Op::kInputs || outputs != Op::kOutputs) return -1;
    for (int i = 0; i < outputs; ++i) types[i] = Op::output_type(i, in, field_);
    return 0;
  }

  int32_t getOutputShapes(const DimsExprs* in, int32_t inputs, const DimsExprs*, int32_t, DimsExprs* shapes,
                          int32_t outputs, IExprBuilder& build) noexcept override {
    if (inputs != Op::kInputs || outputs != Op::kOutputs) return -1;
    for (int i = 0; i < outputs; ++i) shapes[i] = Op::output_shape(i, in, build);
    return 0;
  }

  bool supportsFormatCombination(int32_t pos, const DynamicPluginTensorDesc* in_out, int32_t inputs,
                                 int32_t outputs) noexcept override {
    if (inputs != Op::kInputs || outputs != Op::kOutputs) return false;
    std::array<PluginTensorDesc, Op::kInputs + Op::kOutputs> described;
    for (int i = 0; i <= pos; ++i) described[i] = in_out[i].desc;  // those after it are not set yet
    return Op::supports(pos, described.data(), field_);
  }

  // Must not be null, or TensorRT times the plugin anew in every build.
  const char* getTimingCacheID() noexcept override { return timing_id_.c_str(); }

  int32_t onShapeChange(const PluginTensorDesc*, int32_t, const PluginTensorDesc*, int32_t) noexcept override {
    return 0;
  }

  int32_t enqueue(const PluginTensorDesc* in, const PluginTensorDesc* out, const void* const* inputs,
                  void* const* outputs, void*, cudaStream_t stream) noexcept override {
    const int status = Op::launch(in, out, inputs, outputs, field_, stream);
    if (status != 0) log_error((std::string("rdc::") + Op::kName + ": CUDA error " + std::to_string(status)).c_str());
    return status;
  }

  IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }

  const PluginFieldCollection* getFieldsToSerialize() noexcept override {
    serialized_ = PluginField(Op::kField, &field_, PluginFieldType::kINT32, 1);
    collection_ = {kFields<Op>, &serialized_};
    return &collection_;
  }

 private:
  int32_t field_;
  std::string timing_id_;
  PluginField serialized_;
  PluginFieldCollection collection_{};
};

template <typename Op>
class Creator final : public IPluginCreatorV3One {
 public:
  Creator() : field_(Op::kField, nullptr, PluginFieldType::kINT32, 1), names_{kFields<Op>, &field_} {}

  const char* getPluginName() const noexcept override { return Op::kName; }
  const char* getPluginVersion() const noexcept override { return kVersion; }
  const char* getPluginNamespace() const noexcept override { return kNamespace; }
  const PluginFieldCollection* getFieldNames() noexcept override { return &names_; }

  // The parser passes ONNX attributes, an engine what getFieldsToSerialize gave it. Null where the field is missing or
  // out of range: TensorRT reports that as a node it cannot import.
  IPluginV3* createPlugin(const char*, const PluginFieldCollection* given, TensorRTPhase) noexcept override {
    if constexpr (kFields<Op> == 0)
      return new (std::nothrow) Plugin<Op>(0);
    else
      return create(given);
  }

 private:
  static IPluginV3* create(const PluginFieldCollection* given) {
    for (int i = 0; given && i < given->nbFields; ++i) {
      const PluginField& field = given->fields[i];
      int64_t value;
      if (std::strcmp(field.name, Op::kField) != 0 || field.length != 1 || !read(field, value)) continue;
      if (value >= -1 && value <= 10 && Op::is_possible(static_cast<int>(value)))
        return new (std::nothrow) Plugin<Op>(static_cast<int32_t>(value));
    }
    log_error((std::string("rdc::") + Op::kName + ": no valid attribute " + Op::kField).c_str());
    return nullptr;
  }

  static bool read(const PluginField& field, int64_t& value) {
    if (field.type == PluginFieldType::kINT32) return value = *static_cast<const int32_t*>(field.data), true;
    if (field.type == PluginFieldType::kINT64) return value = *static_cast<const int64_t*>(field.data), true;
    return false;
  }

  PluginField field_;
  PluginFieldCollection names_;
};

}  // namespace

#if defined(_WIN32)
#define RDC_EXPORT extern "C" __declspec(dllexport)
#else
#define RDC_EXPORT extern "C" __attribute__((visibility("default")))
#endif

RDC_EXPORT IPluginCreatorInterface* const* getCreators(int32_t& count) {
  static Creator<ImageToTensor> image_to_tensor;
  static Creator<GainQuantize> gain_quantize;
  static Creator<GainDequantize> gain_dequantize;
  static Creator<BlendToImage> blend_to_image;
  static IPluginCreatorInterface* const all[] = {&image_to_tensor, &gain_quantize, &gain_dequantize, &blend_to_image};
  count = static_cast<int32_t>(std::size(all));
  return all;
}

RDC_EXPORT void setLoggerFinder(ILoggerFinder* finder) { logger_finder = finder; }
