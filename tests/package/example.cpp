// example SRC DIR: opens a checkpoint, says what it is, and writes it as an MLX folder.
#include <weightbridge/weightbridge.h>
#include <iostream>

int main(int, char** argv) try {
  const weightbridge::Checkpoint checkpoint = weightbridge::Checkpoint::open(argv[1]);
  const weightbridge::Plan plan = checkpoint.plan({.target = "exact"});
  std::cout << plan.recipe() << ": " << plan.tensors().size() << " tensors\n";
  plan.convert(argv[2]);
} catch (const weightbridge::Error& error) {
  std::cerr << error.what() << " " << error.advice() << "\n";
  return error.exit_status();
}
