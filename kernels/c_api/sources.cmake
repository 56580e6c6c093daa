# What the C API is made of, for whoever builds it: RDC_SOURCES; RDC_CODER is the folder of the entropy coder.
set(RDC_CODER ${CMAKE_CURRENT_LIST_DIR}/../entropy_coder)
set(RDC_SOURCES
  ${CMAKE_CURRENT_LIST_DIR}/bundle.cpp
  ${CMAKE_CURRENT_LIST_DIR}/container.cpp
  ${CMAKE_CURRENT_LIST_DIR}/inflate.cpp
  ${CMAKE_CURRENT_LIST_DIR}/json.cpp
  ${CMAKE_CURRENT_LIST_DIR}/npz.cpp
  ${CMAKE_CURRENT_LIST_DIR}/rdc.cpp
  ${CMAKE_CURRENT_LIST_DIR}/sha256.cpp
  ${CMAKE_CURRENT_LIST_DIR}/symbols.cpp
  ${RDC_CODER}/avx512.cpp
  ${RDC_CODER}/crc32c.cpp
  ${RDC_CODER}/rans.cpp
  ${RDC_CODER}/scale_context.cpp
  ${RDC_CODER}/scale_network.cpp
  ${RDC_CODER}/simd.cpp
  ${RDC_CODER}/tables.cpp)
