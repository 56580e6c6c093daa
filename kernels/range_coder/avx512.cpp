#include "avx512.h"

namespace rdc {
bool avx512_available() { return false; }
template <class Symbol>
bool avx512_encode(const Symbol*, const uint8_t*, size_t, const Tables&, int, uint32_t*, WordWriter&) { return false; }
template <class Symbol>
bool avx512_decode(WordReader&, const uint8_t*, size_t, const Tables&, int, uint32_t*, Symbol*) { return false; }
template bool avx512_encode(const int16_t*, const uint8_t*, size_t, const Tables&, int, uint32_t*, WordWriter&);
template bool avx512_encode(const int32_t*, const uint8_t*, size_t, const Tables&, int, uint32_t*, WordWriter&);
template bool avx512_decode(WordReader&, const uint8_t*, size_t, const Tables&, int, uint32_t*, int16_t*);
template bool avx512_decode(WordReader&, const uint8_t*, size_t, const Tables&, int, uint32_t*, int32_t*);
}
