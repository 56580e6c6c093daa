// Failures inside the library, and how they become what a C caller sees.
#pragma once

#include <new>
#include <stdexcept>
#include <string>

#include "../entropy_coder/rans.h"
#include "rdc.h"

namespace rdc {

// A failure with the status that the caller gets.
struct Error : std::runtime_error {
  Error(rdc_status status_in, const std::string& message) : std::runtime_error(message), status(status_in) {}
  rdc_status status;
};

// Keeps the text for rdc_message(), cut to its length, and returns the status. It never fails.
rdc_status report(rdc_status status, const char* message) noexcept;

inline void require(bool fulfilled, const char* message) {
  if (!fulfilled) throw Error(RDC_INVALID, message);
}

// Runs the body of a C function. No exception passes: the caller may have been compiled without them.
template <class Body>
rdc_status guarded(const Body& body) noexcept {
  try {
    return body();
  } catch (const Error& error) {
    return report(error.status, error.what());
  } catch (const CorruptStream& error) {
    return report(RDC_CORRUPT, error.what());
  } catch (const std::invalid_argument& error) {
    return report(RDC_INVALID, error.what());
  } catch (const std::bad_alloc&) {
    return report(RDC_NO_MEMORY, "not enough memory");
  } catch (const std::exception& error) {
    return report(RDC_INTERNAL, error.what());
  } catch (...) {
    return report(RDC_INTERNAL, "an unknown exception");
  }
}

}  // namespace rdc
