#include "json.h"

#include <algorithm>
#include <clocale>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "error.h"

namespace rdc {
namespace {

constexpr int kMaxDepth = 32;
constexpr size_t kMaxNumber = 64;     // characters
constexpr size_t kMaxMembers = 1024;  // of an object: looking one up takes time in proportion

[[noreturn]] void fail(const std::string& message) { throw Error(RDC_CORRUPT, "manifest: " + message); }
[[noreturn]] void fail_syntax() { fail("not JSON"); }

void append_utf8(std::string& out, uint32_t c) {
  const auto put = [&out](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6);
    put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3f));
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

}  // namespace

class JsonReader {
 public:
  JsonReader(const char* text, size_t size) : next_(text), end_(text + size) {}

  Json document() {
    Json result = value(0);
    skip_space();
    if (next_ != end_) fail_syntax();
    return result;
  }

 private:
  void skip_space() {
    while (next_ != end_ && (*next_ == ' ' || *next_ == '\t' || *next_ == '\n' || *next_ == '\r')) ++next_;
  }

  char peek() const { return next_ == end_ ? '\0' : *next_; }

  bool take(char c) {
    skip_space();
    if (peek() != c || next_ == end_) return false;
    ++next_;
    return true;
  }

  void expect(char c) {
    if (!take(c)) fail_syntax();
  }

  bool take_word(const char* word) {
    const size_t length = std::strlen(word);
    if (static_cast<size_t>(end_ - next_) < length || std::memcmp(next_, word, length) != 0) return false;
    next_ += length;
    return true;
  }

  Json value(int depth) {
    if (depth > kMaxDepth) fail("nested too deeply");
    skip_space();
    Json result;
    if (take('{')) {
      result.kind_ = Json::Kind::kObject;
      if (take('}')) return result;
      do {
        skip_space();
        std::string key = string();
        expect(':');
        Json member = value(depth + 1);
        const auto known = std::find_if(result.members_.begin(), result.members_.end(),
                                        [&key](const auto& entry) { return entry.first == key; });
        if (known != result.members_.end())
          known->second = std::move(member);  // the last one counts, as in Python
        else
          result.members_.emplace_back(std::move(key), std::move(member));
        if (result.members_.size() > kMaxMembers) fail("an object of too many members");
      } while (take(','));
      expect('}');
    } else if (take('[')) {
      result.kind_ = Json::Kind::kArray;
      if (take(']')) return result;
      do result.items_.push_back(value(depth + 1));
      while (take(','));
      expect(']');
    } else if (peek() == '"') {
      result.kind_ = Json::Kind::kString;
      result.text_ = string();
    } else if (take_word("true") || take_word("false")) {
      result.kind_ = Json::Kind::kBoolean;
      result.text_ = next_[-2] == 'u' ? "true" : "false";
    } else if (!take_word("null")) {
      result.kind_ = Json::Kind::kNumber;
      result.text_ = number();
    }
    return result;
  }

  bool digits(std::string& out) {
    const size_t before = out.size();
    while (peek() >= '0' && peek() <= '9') out.push_back(*next_++);
    return out.size() != before;
  }

  std::string number() {
    std::string out;
    if (peek() == '-') out.push_back(*next_++);
    const bool zero = peek() == '0';
    const size_t start = out.size();
    if (!digits(out) || (zero && out.size() - start > 1)) fail_syntax();
    if (peek() == '.') {
      out.push_back(*next_++);
      if (!digits(out)) fail_syntax();
    }
    if (peek() == 'e' || peek() == 'E') {
      out.push_back(*next_++);
      if (peek() == '+' || peek() == '-') out.push_back(*next_++);
      if (!digits(out)) fail_syntax();
    }
    if (out.size() > kMaxNumber) fail("a number of too many digits");
    return out;
  }

  uint32_t hex() {
    uint32_t value = 0;
    for (int k = 0; k < 4; ++k) {
      const char c = next_ == end_ ? '\0' : *next_++;
      if (c >= '0' && c <= '9')
        value = value << 4 | static_cast<uint32_t>(c - '0');
      else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
        value = value << 4 | static_cast<uint32_t>((c | 0x20) - 'a' + 10);
      else
        fail_syntax();
    }
    return value;
  }

  void escape(std::string& out) {
    const char c = next_ == end_ ? '\0' : *next_++;
    switch (c) {
      case '"':
      case '\\':
      case '/':
        out.push_back(c);
        return;
      case 'b':
        out.push_back('\b');
        return;
      case 'f':
        out.push_back('\f');
        return;
      case 'n':
        out.push_back('\n');
        return;
      case 'r':
        out.push_back('\r');
        return;
      case 't':
        out.push_back('\t');
        return;
      case 'u': {
        uint32_t code = hex();
        if (code >= 0xdc00 && code < 0xe000) fail_syntax();
        if (code >= 0xd800 && code < 0xdc00) {
          if (!take_word("\\u")) fail_syntax();
          const uint32_t low = hex();
          if (low < 0xdc00 || low >= 0xe000) fail_syntax();
          code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
        }
        append_utf8(out, code);
        return;
      }
      default:
        fail_syntax();
    }
  }

  std::string string() {
    if (peek() != '"') fail_syntax();
    ++next_;
    std::string out;
    for (;;) {
      if (next_ == end_ || static_cast<unsigned char>(*next_) < 0x20) fail_syntax();
      const char c = *next_++;
      if (c == '"') return out;
      if (c == '\\')
        escape(out);
      else
        out.push_back(c);
    }
  }

  const char *next_, *end_;
};

Json Json::parse(const char* text, size_t size) { return JsonReader(text, size).document(); }

const Json* Json::find(const char* key) const {
  if (kind_ != Kind::kObject) return nullptr;
  for (const auto& [name, value] : members_)
    if (name == key) return &value;
  return nullptr;
}

const Json& Json::at(const char* key) const {
  const Json* found = find(key);
  if (!found) fail(std::string("no ") + key);
  return *found;
}

const std::string& Json::text() const {
  if (kind_ != Kind::kString) fail("a text was expected");
  return text_;
}

double Json::number() const {
  if (kind_ != Kind::kNumber) fail("a number was expected");
  std::string local = text_;
  const size_t point = local.find('.');
  if (point != std::string::npos) local.replace(point, 1, std::localeconv()->decimal_point);  // what strtod expects
  const double value = std::strtod(local.c_str(), nullptr);
  if (!std::isfinite(value)) fail("a number is out of range");
  return value;
}

long Json::whole(long least, long most) const {
  const double value = number();
  if (!(value >= static_cast<double>(least) && value <= static_cast<double>(most)) ||
      value != static_cast<double>(static_cast<long>(value)))
    fail("a number is out of range");
  return static_cast<long>(value);
}

const std::vector<Json>& Json::items() const {
  if (kind_ != Kind::kArray) fail("a list was expected");
  return items_;
}

const std::vector<std::pair<std::string, Json>>& Json::members() const {
  if (kind_ != Kind::kObject) fail("an object was expected");
  return members_;
}

namespace {

std::string quoted(const std::string& text) {
  for (const char c : text)
    if (c < 0x20 || c > 0x7e || c == '"' || c == '\\') fail("a text in `parsing` that is not plain");
  return '"' + text + '"';
}

}  // namespace

std::string Json::sorted_dump() const {
  std::string out;
  switch (kind_) {
    case Kind::kNull:
      return "null";
    case Kind::kBoolean:
      return text_;
    case Kind::kNumber:
      if (text_.find_first_not_of("-0123456789") != std::string::npos || text_ == "-0")
        fail("a number in `parsing` that is not whole");
      return text_;
    case Kind::kString:
      return quoted(text_);
    case Kind::kArray:
      for (const Json& item : items_) out += (out.empty() ? "" : ", ") + item.sorted_dump();
      return '[' + out + ']';
    case Kind::kObject: {
      std::vector<const std::pair<std::string, Json>*> sorted;
      for (const auto& member : members_) sorted.push_back(&member);
      std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
      for (const auto* member : sorted)
        out += (out.empty() ? "" : ", ") + quoted(member->first) + ": " + member->second.sorted_dump();
      return '{' + out + '}';
    }
  }
  return out;
}

}  // namespace rdc
