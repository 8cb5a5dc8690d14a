#pragma once

#include <cstdlib>
#include <initializer_list>
#include <string>
#include <utility>

#include <catch2/catch_test_macros.hpp>
#include <sys/wait.h>
#include <unistd.h>

/// How a process ended.
struct outcome {
  int code = -1;
  std::string errors;  ///< what it wrote to standard error
};

/// Runs a hidden case of this executable in a process of its own.
inline outcome run_alone(
    const char* name, std::initializer_list<std::pair<const char*, const char*>> variables = {}) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    for (const auto& [variable, value] : variables) setenv(variable, value, 1);
    dup2(ends[1], STDERR_FILENO);
    execl("/proc/self/exe", "/proc/self/exe", name, "--reporter", "compact", nullptr);
    _exit(127);
  }
  close(ends[1]);
  outcome ended;
  char text[4096];
  for (ssize_t got; (got = read(ends[0], text, sizeof text)) > 0;) {
    ended.errors.append(text, static_cast<std::size_t>(got));
  }
  close(ends[0]);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return ended;
}
