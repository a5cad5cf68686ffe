#include "support/certificates.hpp"

#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace hubbub::test {

Certificates::Certificates() {
  std::string path = std::filesystem::temp_directory_path() / "hubbub-tls-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) throw std::runtime_error("no folder for certificates");
  folder_ = path;
  run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test-ca -keyout ca.key "
      "-out ca.crt");
  issue("server", "IP:127.0.0.1,DNS:localhost");
  issue("elsewhere", "IP:127.0.0.2");
  issue("client", "DNS:client");
}

Certificates::~Certificates() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

void Certificates::run(const std::string& arguments) const {
  const std::string command = "cd '" + folder_ + "' && openssl " + arguments + " >log 2>&1 </dev/null";
  if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: openssl " + arguments);
}

void Certificates::issue(const std::string& name, const std::string& subject_alternative_name) const {
  std::ofstream(file(name + ".ext")) << "subjectAltName=" << subject_alternative_name << "\n";
  run("req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=" + name + " -keyout " + name +
      ".key -out " + name + ".csr");
  run("x509 -req -in " + name + ".csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile " + name +
      ".ext -out " + name + ".crt");
}

}  // namespace hubbub::test
