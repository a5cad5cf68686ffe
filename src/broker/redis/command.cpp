#include "hubbub/broker/redis/command.hpp"

#include <openssl/evp.h>

#include <charconv>
#include <span>
#include <stdexcept>

#include "hubbub/base/random.hpp"

namespace hubbub::broker::redis {

namespace {

template <class Number>
void append_number(std::string& to, Number number) {
  char digits[24];
  to.append(digits, std::to_chars(digits, digits + sizeof digits, number).ptr);
}

template <class Number>
std::string_view text_of(Number number, char (&digits)[24]) {
  return {digits, static_cast<std::size_t>(std::to_chars(digits, digits + sizeof digits, number).ptr - digits)};
}

}  // namespace

Script make_script(std::string_view name, std::string_view source) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_Digest(source.data(), source.size(), digest, &size, EVP_sha1(), nullptr) != 1) {
    throw std::runtime_error("SHA-1 is not available");  // Redis knows scripts by nothing else
  }
  return {std::string(name), std::string(source), base::to_hex(std::span<const unsigned char>(digest, size))};
}

Command::Command(std::size_t arguments) {
  bytes_.reserve(48 + 32 * arguments);
  bytes_ += '*';
  append_number(bytes_, arguments);
  bytes_ += "\r\n";
}

Command Command::eval(const Script& script, std::size_t keys, std::size_t values) {
  Command command(3 + keys + values);
  command.add("EVALSHA").add(script.sha1).add(std::uint64_t{keys});
  return command;
}

Command& Command::add(std::string_view argument) {
  bytes_ += '$';
  append_number(bytes_, argument.size());
  bytes_ += "\r\n";
  bytes_ += argument;
  bytes_ += "\r\n";
  return *this;
}

Command& Command::add(std::int64_t argument) {
  char digits[24];
  return add(text_of(argument, digits));
}

Command& Command::add(std::uint64_t argument) {
  char digits[24];
  return add(text_of(argument, digits));
}

}  // namespace hubbub::broker::redis
