#pragma once

#include <string>

namespace hubbub::test {

/// Certificates made with the openssl command in a folder of their own: a CA (`ca.crt`), `server.crt` for 127.0.0.1,
/// `elsewhere.crt` for another address, `client.crt`, each with its `.key`.
class Certificates {
 public:
  Certificates();
  ~Certificates();
  Certificates(const Certificates&) = delete;
  Certificates& operator=(const Certificates&) = delete;

  std::string file(const std::string& name) const { return folder_ + "/" + name; }

 private:
  void run(const std::string& arguments) const;
  void issue(const std::string& name, const std::string& subject_alternative_name) const;
  std::string folder_;
};

}  // namespace hubbub::test
