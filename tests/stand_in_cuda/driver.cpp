// A libcuda.so.1 for machines that have no GPU. Its memory is the host's, a capture records what is queued, and the two
// pixel kernels are computed on the CPU. What is queued runs as late as CUDA allows: when something waits for its
// stream, for an event after it, or for the device. So a wait that is missing shows as data that is not there. It also
// finds calls that are wrong: arguments, contexts, order, lifetime. Only what cuda-core and
// src/rdc_codec/backends/cuda.py call is here; anything else fails by name.

#include <dlfcn.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#define __global__
namespace {
struct Index {
  unsigned x, y, z;
};
thread_local Index blockIdx, blockDim, threadIdx;
}  // namespace
#include "../../src/rdc_codec/backends/pixels.cu"

namespace {

enum Code {
  SUCCESS = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  INVALID_DEVICE = 101,
  INVALID_CONTEXT = 201,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  NOT_SUPPORTED = 801,
  LAUNCH_FAILED = 719,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
  CAPTURE_WRONG_THREAD = 908,
};
enum NodeKind { KERNEL = 0, COPY = 1, SET = 2, HOST = 3 };
enum CaptureMode { GLOBAL = 0, THREAD_LOCAL = 1, RELAXED = 2 };
constexpr unsigned HOST_MEMORY = 1, DEVICE_MEMORY = 2, UNIFIED_MEMORY = 4;  // the last: see the address

// As in cuda.h: CUDA_MEMCPY3D.
struct End {
  std::size_t x, y, z, lod;
  unsigned kind;
  const void* host;
  std::uint64_t device;
  void *array, *reserved;
  std::size_t pitch, height;
};
struct Copy3d {
  End from, to;
  std::size_t width, height, depth;
};

using Work = std::function<int()>;  // 0, or it failed
struct Node {
  NodeKind kind;
  Work run;
  Copy3d copy;
};
struct Graph {
  std::vector<Node*> nodes;
};
struct Executable {
  std::vector<Node*> nodes;
};
struct Stream {
  std::uintptr_t context;
  std::deque<Work> waiting{};
  std::uint64_t queued = 0, done = 0;  // how many so far
  bool running = false, failed = false;
};
struct Event {  // what is queued on a stream up to here
  Stream* stream = nullptr;
  std::uint64_t position = 0;
};
struct Capture {
  Graph* graph;
  std::thread::id thread;
  int mode;
  bool valid;
};

std::recursive_mutex everything;
using Locked = std::lock_guard<std::recursive_mutex>;
std::map<Stream*, Capture> captures;
std::map<std::uint64_t, std::pair<std::size_t, std::uintptr_t>> blocks;  // address -> bytes, context
std::set<Stream*> streams;
std::set<Executable*> executables;
std::set<void*> pinned;
std::atomic<long> launched{0}, graphs_launched{0}, events{0};
int next_copy_fails = 0;  // with this code
thread_local std::uintptr_t current = 0;
constexpr std::uintptr_t PRIMARY = 0x1000, OTHER = 0x2000;

const std::pair<const std::uint64_t, std::pair<std::size_t, std::uintptr_t>>* block_of(std::uint64_t address) {
  auto it = blocks.upper_bound(address);
  if (it == blocks.begin()) return nullptr;
  --it;
  return address < it->first + it->second.first ? &*it : nullptr;
}

// What CUDA does not allow while this thread captures, or any in global mode, and what spoils the capture.
int unsafe() {
  Locked locked(everything);
  for (auto& [stream, capture] : captures) {
    const bool mine = capture.thread == std::this_thread::get_id() && capture.mode != RELAXED;
    if (mine || capture.mode == GLOBAL) {
      capture.valid = false;
      return CAPTURE_UNSUPPORTED;
    }
  }
  return SUCCESS;
}

// Nor in which any thread may wait for the whole device.
int waits_for_all() {
  Locked locked(everything);
  for (auto& [stream, capture] : captures) capture.valid = false;
  return captures.empty() ? SUCCESS : CAPTURE_UNSUPPORTED;
}

// Stricter than CUDA, where some calls do with any context: the calling thread's is to be the stream's.
int usable(Stream* stream) {
  Locked locked(everything);
  return !current ? INVALID_CONTEXT : !streams.count(stream) || stream->context != current ? INVALID_HANDLE : SUCCESS;
}

// Run what is queued on a stream up to a position. A stream that is gone has run everything before.
void run_until(Stream* stream, std::uint64_t position) {
  Locked locked(everything);
  while (streams.count(stream) && !stream->running && stream->done < position && !stream->waiting.empty()) {
    const Work work = std::move(stream->waiting.front());
    stream->waiting.pop_front();
    stream->running = true;  // what it does may wait for the device, which must not run the next one before it ends
    if (work()) stream->failed = true;
    stream->running = false;
    ++stream->done;
  }
}

void run_all() {
  Locked locked(everything);
  const std::set<Stream*> each = streams;
  for (auto* stream : each)
    if (streams.count(stream)) run_until(stream, stream->queued);
}

void defer(Stream* stream, Work work) {
  stream->waiting.push_back(std::move(work));
  ++stream->queued;
}

int queue(Stream* stream, NodeKind kind, Work run, Copy3d copy = {}) {
  Locked locked(everything);
  if (const int code = usable(stream)) return code;
  const auto it = captures.find(stream);
  if (it != captures.end())
    it->second.graph->nodes.push_back(new Node{kind, std::move(run), copy});
  else
    defer(stream, std::move(run));
  return SUCCESS;
}

int copy(std::uint64_t to, std::uint64_t from, std::size_t size, Stream* stream, bool unified = false) {
  Locked locked(everything);
  Copy3d about{};
  about.from.kind = unified ? UNIFIED_MEMORY : block_of(from) ? DEVICE_MEMORY : HOST_MEMORY;
  about.from.device = from;
  about.to.kind = unified ? UNIFIED_MEMORY : block_of(to) ? DEVICE_MEMORY : HOST_MEMORY;
  about.to.device = to;
  for (const auto address : {to, from})
    if (const auto* block = block_of(address); block && address + size > block->first + block->second.first)
      return INVALID_VALUE;
  auto* target = reinterpret_cast<void*>(to);
  const auto* source = reinterpret_cast<const void*>(from);
  return queue(stream, COPY, [=] { return std::memcpy(target, source, size), 0; }, about);
}

template <typename T>
T at(void** parameters, int index) {
  T value;
  std::memcpy(&value, parameters[index], sizeof value);
  return value;
}

using Bytes = const unsigned char*;

// The threads of a launch one after another; arguments are read when it is queued, as CUDA does.
int launch(const std::string& name, Index grid, Index block, Stream* stream, void** p) {
  std::function<void()> thread;
  if (name == "pad_pixels")
    thread = [=, image = at<Bytes>(p, 0), a = at<long long>(p, 1), b = at<long long>(p, 2), c = at<long long>(p, 3),
              height = at<int>(p, 4), width = at<int>(p, 5), padded = at<signed char*>(p, 6), rows = at<int>(p, 7),
              columns = at<int>(p, 8)] { pad_pixels(image, a, b, c, height, width, padded, rows, columns); };
  else if (name == "crop_pixels")
    thread = [=, padded = at<const signed char*>(p, 0), columns = at<int>(p, 1), image = at<unsigned char*>(p, 2),
              a = at<long long>(p, 3), b = at<long long>(p, 4), c = at<long long>(p, 5), height = at<int>(p, 6),
              width = at<int>(p, 7)] { crop_pixels(padded, columns, image, a, b, c, height, width); };
  else
    return INVALID_HANDLE;
  if (grid.y * grid.z * block.y * block.z != 1 || !grid.x || !block.x || block.x > 1024) return INVALID_VALUE;
  ++launched;
  return queue(stream, KERNEL, [=] {
    blockDim = block;
    for (unsigned i = 0; i < grid.x; ++i)
      for (unsigned t = 0; t < block.x; ++t) {
        blockIdx = {i, 0, 0};
        threadIdx = {t, 0, 0};
        thread();
      }
    return 0;
  });
}

int missing_call() {
  std::fprintf(stderr, "stand-in driver: a call that it does not have\n");
  return NOT_SUPPORTED;
}

}  // namespace

#define CALL(name, ...) extern "C" __attribute__((visibility("default"))) int name(__VA_ARGS__)

// --- of the tests -----------------------------------------------------------------------------------------------

CALL(stand_in_counts, long* out) {
  Locked locked(everything);
  const long counts[] = {launched,
                         graphs_launched,
                         static_cast<long>(blocks.size()),
                         static_cast<long>(streams.size()),
                         static_cast<long>(executables.size()),
                         static_cast<long>(pinned.size()),
                         events};
  std::memcpy(out, counts, sizeof counts);
  return SUCCESS;
}
CALL(stand_in_queue, Stream* stream, int (*work)()) { return queue(stream, KERNEL, work); }
CALL(stand_in_pending, Stream* stream, long* count) {
  Locked locked(everything);
  return *count = streams.count(stream) ? static_cast<long>(stream->waiting.size()) : 0, SUCCESS;
}
CALL(stand_in_finish, void) { return run_all(), SUCCESS; }
CALL(stand_in_fail_next_copy, int code) { return next_copy_fails = code, SUCCESS; }
CALL(stand_in_other_context, std::uintptr_t* context) { return *context = OTHER, SUCCESS; }

// --- devices and contexts -----------------------------------------------------------------------------------------

CALL(cuInit, unsigned) { return SUCCESS; }
CALL(cuDriverGetVersion, int* version) { return *version = 13000, SUCCESS; }
CALL(cuDeviceGetCount, int* count) { return *count = 1, SUCCESS; }
CALL(cuDeviceGet, int* device, int number) { return number ? INVALID_DEVICE : (*device = 0, SUCCESS); }
CALL(cuDeviceGetName, char* name, int size, int) { return std::snprintf(name, size, "stand-in"), SUCCESS; }
CALL(cuDeviceGetUuid_v2, char* uuid, int) { return std::memset(uuid, 1, 16), SUCCESS; }
CALL(cuDeviceGetAttribute, int* value, int attribute, int) {
  constexpr int MAJOR = 75, MINOR = 76;
  *value = attribute == MAJOR ? 9 : attribute == MINOR ? 0 : 1024;
  return SUCCESS;
}
CALL(cuDevicePrimaryCtxRetain, std::uintptr_t* context, int) { return *context = PRIMARY, SUCCESS; }
CALL(cuDevicePrimaryCtxRelease_v2, int) { return SUCCESS; }
CALL(cuCtxGetCurrent, std::uintptr_t* context) { return *context = current, SUCCESS; }
CALL(cuCtxSetCurrent, std::uintptr_t context) { return current = context, SUCCESS; }
CALL(cuCtxSynchronize, void) {
  if (!current) return INVALID_CONTEXT;
  if (const int code = waits_for_all()) return code;
  return run_all(), SUCCESS;
}
CALL(cuCtxGetDevice, int* device) { return *device = 0, current ? SUCCESS : INVALID_CONTEXT; }

// --- memory --------------------------------------------------------------------------------------------------------

CALL(cuMemAlloc_v2, std::uint64_t* address, std::size_t size) {
  if (!current) return INVALID_CONTEXT;
  if (const int code = unsafe()) return code;
  if (size == 0 || size > (std::size_t{1} << 36)) return size ? OUT_OF_MEMORY : INVALID_VALUE;
  void* memory = std::aligned_alloc(512, (size + 511) / 512 * 512);
  std::memset(memory, 0xA5, size);  // nobody may count on what is in it
  Locked locked(everything);
  blocks[*address = reinterpret_cast<std::uint64_t>(memory)] = {size, current};
  return SUCCESS;
}
CALL(cuMemFree_v2, std::uint64_t address) {
  if (const int code = unsafe()) return code;
  Locked locked(everything);
  const auto it = blocks.find(address);
  if (it == blocks.end() || it->second.second != current) return INVALID_VALUE;
  run_all();  // it waits for the device
  blocks.erase(address);
  std::free(reinterpret_cast<void*>(address));
  return SUCCESS;
}
CALL(cuMemHostAlloc, void** address, std::size_t size, unsigned) {
  if (!current) return INVALID_CONTEXT;
  if (const int code = unsafe()) return code;
  Locked locked(everything);
  pinned.insert(*address = std::malloc(size));
  std::memset(*address, 0xA5, size);
  return SUCCESS;
}
CALL(cuMemFreeHost, void* address) {
  if (!current) return INVALID_CONTEXT;
  if (const int code = unsafe()) return code;
  Locked locked(everything);
  if (!pinned.erase(address)) return INVALID_VALUE;
  run_all();
  return std::free(address), SUCCESS;
}
CALL(cuMemcpyHtoDAsync_v2, std::uint64_t to, std::uint64_t from, std::size_t size, Stream* stream) {
  Locked locked(everything);
  if (const int code = next_copy_fails) return next_copy_fails = 0, code;
  return block_of(to) ? copy(to, from, size, stream) : INVALID_VALUE;
}
CALL(cuMemcpyDtoHAsync_v2, std::uint64_t to, std::uint64_t from, std::size_t size, Stream* stream) {
  Locked locked(everything);
  return block_of(from) ? copy(to, from, size, stream) : INVALID_VALUE;
}
CALL(cuMemcpyDtoDAsync_v2, std::uint64_t to, std::uint64_t from, std::size_t size, Stream* stream) {
  Locked locked(everything);
  return block_of(from) && block_of(to) ? copy(to, from, size, stream) : INVALID_VALUE;
}
CALL(cuMemcpyAsync, std::uint64_t to, std::uint64_t from, std::size_t size, Stream* stream) {
  return copy(to, from, size, stream, true);
}
CALL(cuPointerGetAttribute, void* value, int attribute, std::uint64_t address) {
  constexpr int CONTEXT = 1, MEMORY_TYPE = 2, DEVICE_ORDINAL = 9;
  Locked locked(everything);
  const auto* block = block_of(address);
  if (!block) return INVALID_VALUE;
  if (attribute == CONTEXT) return *static_cast<std::uintptr_t*>(value) = block->second.second, SUCCESS;
  if (attribute == MEMORY_TYPE) return *static_cast<unsigned*>(value) = DEVICE_MEMORY, SUCCESS;
  if (attribute == DEVICE_ORDINAL) return *static_cast<int*>(value) = 0, SUCCESS;
  return NOT_SUPPORTED;
}
CALL(cuPointerGetAttributes, unsigned count, int* attributes, void** values, std::uint64_t address) {
  for (unsigned i = 0; i < count; ++i) {
    *static_cast<int*>(values[i]) = 0;  // as CUDA does for what it does not know
    cuPointerGetAttribute(values[i], attributes[i], address);
  }
  return SUCCESS;
}

// --- streams and events ---------------------------------------------------------------------------------------------

CALL(cuStreamCreate, Stream** stream, unsigned) {
  if (!current) return INVALID_CONTEXT;
  Locked locked(everything);
  streams.insert(*stream = new Stream{current});
  return SUCCESS;
}
CALL(cuStreamDestroy_v2, Stream* stream) {
  Locked locked(everything);
  if (const int code = usable(stream)) return code;
  if (captures.count(stream)) return CAPTURE_UNSUPPORTED;
  run_until(stream, stream->queued);
  return streams.erase(stream), SUCCESS;  // never the address of another one, so that stale handles are found
}
CALL(cuStreamGetCtx, Stream* stream, std::uintptr_t* context) {
  Locked locked(everything);
  return streams.count(stream) ? (*context = stream->context, SUCCESS) : INVALID_HANDLE;
}
CALL(cuStreamGetCtx_v2, Stream* stream, std::uintptr_t* context, void** green) {
  if (green) *green = nullptr;
  return cuStreamGetCtx(stream, context);
}
CALL(cuStreamGetDevice, Stream*, int* device) { return *device = 0, SUCCESS; }
CALL(cuStreamSynchronize, Stream* stream) {
  Locked locked(everything);
  if (const int code = usable(stream)) return code;
  const auto it = captures.find(stream);
  if (it != captures.end()) return it->second.valid = false, CAPTURE_UNSUPPORTED;
  run_until(stream, stream->queued);
  return stream->failed ? LAUNCH_FAILED : SUCCESS;
}
CALL(cuEventCreate, Event** event, unsigned) {
  return current ? (++events, *event = new Event, SUCCESS) : INVALID_CONTEXT;
}
int order(Stream* stream) {  // CUDA would have the streams captured together
  if (const int code = usable(stream)) return code;
  return captures.count(stream) ? CAPTURE_UNSUPPORTED : SUCCESS;
}
CALL(cuEventRecord, Event* event, Stream* stream) {
  Locked locked(everything);
  if (const int code = order(stream)) return code;
  return *event = {stream, stream->queued}, SUCCESS;
}
CALL(cuStreamWaitEvent, Stream* stream, const Event* event, unsigned) {
  Locked locked(everything);
  if (const int code = order(stream)) return code;
  if (event->stream) defer(stream, [before = *event] { return run_until(before.stream, before.position), 0; });
  return SUCCESS;
}
CALL(cuEventSynchronize, const Event* event) {
  Locked locked(everything);
  if (const int code = unsafe()) return code;
  return run_until(event->stream, event->position), SUCCESS;
}
CALL(cuEventDestroy_v2, Event* event) { return --events, delete event, SUCCESS; }

// --- graphs
// -----------------------------------------------------------------------------------------------------------

CALL(cuStreamBeginCapture_v2, Stream* stream, int mode) {
  Locked locked(everything);
  if (const int code = usable(stream)) return code;
  if (captures.count(stream)) return INVALID_VALUE;
  captures[stream] = {new Graph, std::this_thread::get_id(), mode, true};
  return SUCCESS;
}
CALL(cuStreamEndCapture, Stream* stream, Graph** graph) {
  Locked locked(everything);
  *graph = nullptr;
  const auto it = captures.find(stream);
  if (it == captures.end()) return INVALID_VALUE;
  if (it->second.thread != std::this_thread::get_id()) return CAPTURE_WRONG_THREAD;
  const Capture capture = it->second;
  captures.erase(it);
  if (!capture.valid) return delete capture.graph, CAPTURE_INVALIDATED;
  return *graph = capture.graph, SUCCESS;
}
CALL(cuStreamIsCapturing, Stream* stream, int* status) {
  Locked locked(everything);
  return *status = captures.count(stream) ? 1 : 0, SUCCESS;
}
CALL(cuGraphGetNodes, Graph* graph, Node** nodes, std::size_t* count) {
  if (!nodes) return *count = graph->nodes.size(), SUCCESS;
  for (std::size_t i = 0; i < *count; ++i) nodes[i] = i < graph->nodes.size() ? graph->nodes[i] : nullptr;
  if (*count > graph->nodes.size()) *count = graph->nodes.size();
  return SUCCESS;
}
CALL(cuGraphNodeGetType, Node* node, int* kind) { return *kind = node->kind, SUCCESS; }
CALL(cuGraphMemcpyNodeGetParams, Node* node, Copy3d* about) {
  return node->kind == COPY ? (*about = node->copy, SUCCESS) : INVALID_VALUE;
}
CALL(cuGraphInstantiateWithFlags, Executable** executable, Graph* graph, std::uint64_t) {
  Locked locked(everything);
  if (!current) return INVALID_CONTEXT;
  executables.insert(*executable = new Executable{graph->nodes});
  return SUCCESS;
}
CALL(cuGraphLaunch, Executable* executable, Stream* stream) {
  Locked locked(everything);
  if (const int code = usable(stream)) return code;
  if (!executables.count(executable)) return INVALID_HANDLE;
  ++graphs_launched;
  for (auto* node : executable->nodes) defer(stream, node->run);
  return SUCCESS;
}
CALL(cuGraphDestroy, Graph* graph) { return delete graph, SUCCESS; }
CALL(cuGraphExecDestroy, Executable* executable) {
  Locked locked(everything);
  if (!current) return INVALID_CONTEXT;
  return executables.erase(executable) ? (delete executable, SUCCESS) : INVALID_HANDLE;
}

// --- kernels: their names are all that is kept of a library
// -----------------------------------------------------------

CALL(cuLibraryLoadData, void** library, const void*, void*, void*, unsigned, void*, void*, unsigned) {
  return *library = std::malloc(1), SUCCESS;
}
CALL(cuLibraryUnload, void* library) { return std::free(library), SUCCESS; }
CALL(cuLibraryGetKernel, std::string** kernel, void*, const char* name) {
  if (std::strcmp(name, "pad_pixels") && std::strcmp(name, "crop_pixels")) return NOT_FOUND;
  return *kernel = new std::string(name), SUCCESS;
}
CALL(cuKernelGetLibrary, void** library, void*) { return *library = nullptr, SUCCESS; }
CALL(cuLaunchKernel, std::string* kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
     unsigned, Stream* stream, void** parameters, void**) {
  return launch(*kernel, {gx, gy, gz}, {bx, by, bz}, stream, parameters);
}
struct LaunchConfig {  // CUlaunchConfig
  unsigned gx, gy, gz, bx, by, bz, shared;
  Stream* stream;
};
CALL(cuLaunchKernelEx, const LaunchConfig* c, std::string* kernel, void** parameters, void**) {
  return launch(*kernel, {c->gx, c->gy, c->gz}, {c->bx, c->by, c->bz}, c->stream, parameters);
}

// --- how its callers find all that
// ------------------------------------------------------------------------------------

CALL(cuGetErrorName, int, const char** text) { return *text = "CUDA_ERROR_OF_THE_STAND_IN", SUCCESS; }
CALL(cuGetErrorString, int, const char** text) { return *text = "an error of the stand-in driver", SUCCESS; }
CALL(cuGetExportTable, const void** table, const void*) {  // NVRTC looks into one
  static const std::size_t nothing[2] = {sizeof(std::size_t)};
  return *table = nothing, SUCCESS;
}
CALL(cuGetProcAddress_v2, const char* name, void** function, int version, std::uint64_t, int* found) {
  Dl_info self;
  dladdr(reinterpret_cast<void*>(&stand_in_counts), &self);
  static void* const library = dlopen(self.dli_fname, RTLD_NOW);
  const bool old = !std::strcmp(name, "cuStreamGetCtx") && version < 12050;  // the one that is here in two forms
  for (const char* suffix : {old ? "" : "_v2", ""})
    if ((*function = dlsym(library, (std::string(name) + suffix).c_str()))) break;
  if (!*function) *function = reinterpret_cast<void*>(&missing_call);
  if (found) *found = 0;
  return SUCCESS;
}
