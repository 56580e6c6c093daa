// Reads JSON (RFC 8259), of which a manifest is made. Own code for the reason of inflate.h.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace rdc {

class Json {
 public:
  enum class Kind { kNull, kBoolean, kNumber, kString, kArray, kObject };

  // Throws Error with RDC_CORRUPT for what is not one JSON value in UTF-8.
  static Json parse(const char* text, size_t size);

  // Each throws Error with RDC_CORRUPT where the value is of another kind, has no such member, or is out of range.
  const Json& at(const char* key) const;
  const std::string& text() const;
  double number() const;
  long whole(long least, long most) const;
  const std::vector<Json>& items() const;
  const std::vector<std::pair<std::string, Json>>& members() const;

  const Json* find(const char* key) const;  // NULL where an object has no such member
  bool is_null() const { return kind_ == Kind::kNull; }
  bool is_number(double value) const { return kind_ == Kind::kNumber && number() == value; }

  // As Python's json.dumps(value, sort_keys=True) has it; numbers must be whole and texts of ASCII.
  std::string sorted_dump() const;

 private:
  friend class JsonReader;

  Kind kind_ = Kind::kNull;
  std::string text_;  // of a string; of a number or boolean as it is written
  std::vector<Json> items_;
  std::vector<std::pair<std::string, Json>> members_;
};

}  // namespace rdc
