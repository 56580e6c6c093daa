// What TensorRT does with a plugin library, for tests without TensorRT: finds creators, creates plugins, clones and
// serialises them as an engine would, asks for formats, and enqueues on memory that the caller owns.
#include <NvInferRuntime.h>

#include <cstring>
#include <memory>
#include <vector>

using namespace nvinfer1;

extern "C" IPluginCreatorInterface* const* getCreators(int32_t& count);

namespace {

struct Tensor {  // mirrored in Python
  void* address;
  int32_t sizes[4];
  int32_t dimensions, type, format;
};

PluginTensorDesc describe(const Tensor& t) {
  PluginTensorDesc d{};
  d.dims.nbDims = t.dimensions;
  for (int i = 0; i < t.dimensions; ++i) d.dims.d[i] = t.sizes[i];
  d.type = static_cast<DataType>(t.type), d.format = static_cast<TensorFormat>(t.format), d.scale = -1;
  return d;
}

IPluginCreatorV3One* find(const char* name) {
  int32_t count = 0;
  IPluginCreatorInterface* const* all = getCreators(count);
  for (int i = 0; i < count; ++i) {
    auto* creator = static_cast<IPluginCreatorV3One*>(all[i]);
    if (std::strcmp(creator->getPluginName(), name) == 0) return creator;
  }
  return nullptr;
}

template <typename Capability>
Capability* capability(IPluginV3* plugin, PluginCapabilityType type) {
  return static_cast<Capability*>(plugin->getCapabilityInterface(type));
}

}  // namespace

// field: name of the node's attribute, or null. Returns null where the creator refuses.
extern "C" IPluginV3* harness_create(const char* name, const char* field, int64_t value, bool wide) {
  IPluginCreatorV3One* creator = find(name);
  if (!creator) return nullptr;
  const auto narrow = static_cast<int32_t>(value);
  PluginField given(field, wide ? static_cast<const void*>(&value) : &narrow,
                    wide ? PluginFieldType::kINT64 : PluginFieldType::kINT32, 1);
  PluginFieldCollection fields{field ? 1 : 0, &given};
  IPluginV3* built = creator->createPlugin(name, &fields, TensorRTPhase::kBUILD);
  if (!built) return nullptr;
  // Through an engine file: what is serialised makes the plugin that runs, and that one's clone is attached.
  auto* runtime = capability<IPluginV3OneRuntime>(built, PluginCapabilityType::kRUNTIME);
  std::unique_ptr<IPluginV3> loaded(
      creator->createPlugin(name, runtime->getFieldsToSerialize(), TensorRTPhase::kRUNTIME));
  delete built;
  if (!loaded) return nullptr;
  return capability<IPluginV3OneRuntime>(loaded.get(), PluginCapabilityType::kRUNTIME)->attachToContext(nullptr);
}

extern "C" void harness_destroy(IPluginV3* plugin) { delete plugin; }

extern "C" const char* harness_timing_id(IPluginV3* plugin) {
  return capability<IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD)->getTimingCacheID();
}

// Whether the plugin takes these tensors, asked position by position as a builder asks.
extern "C" bool harness_supports(IPluginV3* plugin, const Tensor* tensors, int32_t inputs, int32_t outputs) {
  auto* build = capability<IPluginV3OneBuild>(plugin, PluginCapabilityType::kBUILD);
  std::vector<DynamicPluginTensorDesc> all(inputs + outputs);
  for (int i = 0; i < inputs + outputs; ++i) all[i].desc = describe(tensors[i]);
  if (build->getNbOutputs() != outputs) return false;
  std::vector<DataType> in(inputs), out(outputs);
  for (int i = 0; i < inputs; ++i) in[i] = all[i].desc.type;
  if (build->getOutputDataTypes(out.data(), outputs, in.data(), inputs) != 0) return false;
  for (int i = 0; i < outputs; ++i)
    if (out[i] != all[inputs + i].desc.type) return false;
  for (int i = 0; i < inputs + outputs; ++i)
    if (!build->supportsFormatCombination(i, all.data(), inputs, outputs)) return false;
  return build->configurePlugin(all.data(), inputs, all.data() + inputs, outputs) == 0;
}

extern "C" int32_t harness_enqueue(IPluginV3* plugin, const Tensor* tensors, int32_t inputs, int32_t outputs,
                                   void* stream) {
  std::vector<PluginTensorDesc> described;
  std::vector<void*> addresses;
  for (int i = 0; i < inputs + outputs; ++i) {
    described.push_back(describe(tensors[i]));
    addresses.push_back(tensors[i].address);
  }
  auto* runtime = capability<IPluginV3OneRuntime>(plugin, PluginCapabilityType::kRUNTIME);
  if (runtime->onShapeChange(described.data(), inputs, described.data() + inputs, outputs) != 0) return -1;
  return runtime->enqueue(described.data(), described.data() + inputs, addresses.data(), addresses.data() + inputs,
                          nullptr, static_cast<cudaStream_t>(stream));
}
