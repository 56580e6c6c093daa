#include <cstddef>

#include "check.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RDC_COUNTED 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define RDC_COUNTED 1
#endif
#ifdef RDC_COUNTED
// Of <sanitizer/allocator_interface.h>, which GCC does not bring.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*allocated)(const volatile void*, size_t),
                                                         void (*freed)(const volatile void*));
extern "C" size_t __sanitizer_get_allocated_size(const volatile void* memory);
#endif

namespace fuzz {
namespace {

thread_local bool t_counting = false;
thread_local ptrdiff_t t_live = 0, t_peak = 0;

#ifdef RDC_COUNTED
void allocated(const volatile void*, size_t size) {
  if (!t_counting) return;
  t_live += static_cast<ptrdiff_t>(size);
  if (t_live > t_peak) t_peak = t_live;
}

void freed(const volatile void* memory) {
  if (t_counting && memory) t_live -= static_cast<ptrdiff_t>(__sanitizer_get_allocated_size(memory));
}

const bool g_installed = __sanitizer_install_malloc_and_free_hooks(allocated, freed) != 0;
#endif

}  // namespace

Memory::Memory() {
  t_live = t_peak = 0;
  t_counting = true;
}
Memory::~Memory() { t_counting = false; }
size_t Memory::peak() const { return static_cast<size_t>(t_peak); }
size_t Memory::live() const { return t_live > 0 ? static_cast<size_t>(t_live) : 0; }

}  // namespace fuzz
