#!/usr/bin/env bash
# Everything that only an NVIDIA GPU shows, in one call of at most 10 minutes and without a network: bench/gpu.sh FOLDER
# Builds the native libraries outside the checkout, has the kernels proved as on first use (fastwave doctor --prove),
# runs every test marked gpu, the GPU rows of the bench (generation, then training) and compute-sanitizer, and leaves in
# FOLDER log.txt, the table of the proof in proof.txt, and of tests, generation and training an .xml, of the rows a
# .json. A step that fails stops no other.
# Needs bash, python3 with torch, numpy, safetensors, triton and pytest; nvcc, CMake and a C++ compiler to build.
# Exit status: 0 all passed, 1 something failed, 2 wrong use, 3 no GPU.
set -uo pipefail

if [ $# -ne 1 ]; then
  echo "usage: bench/gpu.sh FOLDER" >&2
  exit 2
fi
mkdir -p "$1" || exit 2
out=$(cd "$1" && pwd) || exit 2
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
repository=$PWD
exec > >(tee "$out/log.txt") 2>&1
logger=$!

finish() { # the log is whole before the script ends
  exec >&- 2>&-
  wait "$logger"
  exit "$1"
}

python3 - <<'PY' || finish 3
try:
    import torch
except ImportError as error:
    raise SystemExit(f"no GPU: not measured (python3 has no torch: {error})")
if not torch.cuda.is_available():
    raise SystemExit(f"no GPU: not measured (torch {torch.__version__} sees no CUDA device here)")
PY

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=()

# step NAME END COMMAND...: is stopped in second END of this script, so one that is done early lends its time to the next
step() {
  local name=$1 left=$(($2 - SECONDS)) status
  shift 2
  printf '\n=== %s (at %ss)\n' "$name" "$SECONDS"
  if [ "$left" -lt 5 ]; then
    echo "not run: no time left"
    failed+=("$name: not run")
    return
  fi
  # an interrupted pytest still writes its report
  timeout --signal=INT --kill-after=10 "$left" "$@"
  status=$?
  if [ "$status" -ne 0 ]; then
    echo "failed: $name, status $status$([ "$status" -ne 124 ] || echo " (stopped after ${left}s)")"
    failed+=("$name: status $status")
  fi
}

# The package as it will be imported: links to the checkout, kernels/ where an install puts it, libraries of its own.
package=$work/site/fastwave
mkdir -p "$package"
for path in "$repository"/fastwave/*; do
  case $path in *.so | *__pycache__) ;; *) ln -s "$path" "$package/" ;; esac
done
ln -s "$repository/kernels" "$package/kernels"
export PYTHONPATH=$work/site${PYTHONPATH:+:$PYTHONPATH} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
export TRITON_CACHE_DIR=$work/triton TORCHINDUCTOR_CACHE_DIR=$work/inductor

step "device, driver, versions, commit" 30 bash -c '
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv 2>&1 || echo "no nvidia-smi"
  nvcc --version 2>&1 | tail -2
  git describe --always --dirty --abbrev=12 --exclude="*" 2>/dev/null || echo "not a git checkout"
  python3 - <<PY
import importlib.metadata, platform, torch
print("python", platform.python_version(), "torch", torch.__version__, "CUDA of torch", torch.version.cuda)
print(torch.cuda.get_device_name(), "sm_%d%d" % torch.cuda.get_device_capability(), torch.cuda.get_device_properties(0))
status = 0
for name in ("numpy", "safetensors", "triton", "pytest"):
    try:
        print(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        print(name, "is not installed")
        status = 1
raise SystemExit(status)
PY'

# shellcheck disable=SC2329 # bash -c, below, runs it
build() {
  local cmake ninja generator="Unix Makefiles"
  cmake=$(command -v cmake || python3 -c 'import cmake, os; print(os.path.join(cmake.CMAKE_BIN_DIR, "cmake"))')
  ninja=$(command -v ninja) && generator=Ninja
  echo "cmake ${cmake:-missing}, ninja ${ninja:-missing}"
  "$cmake" -S csrc -B "$work/native" -G "$generator" -DFASTWAVE_CUDA=ON &&
    "$cmake" --build "$work/native" --parallel "$(nproc)" &&
    "$cmake" --install "$work/native" --prefix "$package"
}
export -f build
export work package
step "build the native libraries" 130 bash -c build

cd "$work" || finish 1 # python3 -m puts the current folder first, and the checkout's fastwave/ has no kernels/
export out XDG_CACHE_HOME=$work/cache
step "proof of the kernels" 225 bash -o pipefail -c 'python3 -m fastwave doctor --prove --quick | tee "$out/proof.txt"'

pytest=(python3 -m pytest -c "$repository/pyproject.toml" --rootdir "$repository" -p no:cacheprovider)
# Only files with such tests: what other tests import may not be installed.
mapfile -t gpu_tests < <(grep -lE 'mark\.gpu' "$repository"/tests/*/test_*.py)
step "tests marked gpu" 310 "${pytest[@]}" -m gpu "${gpu_tests[@]}" --durations=10 --junitxml="$out/tests.xml"

step "generation" 425 "${pytest[@]}" -m gpu "$repository/bench/test_cuda_engine.py" --durations=10 \
  --report "$out/generation.json" --junitxml="$out/generation.xml"

step "training" 510 "${pytest[@]}" -m gpu "$repository/bench/test_training.py" --durations=10 \
  --compile ref,wide --report "$out/training.json" --junitxml="$out/training.xml"

sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
if [ -z "$sanitizer" ]; then
  printf '\n=== compute-sanitizer\nnot run: it is not installed\n'
else
  export PYTORCH_NO_CUDA_MEMORY_CACHING=1 # every tensor an allocation of its own, whose end the tools see
  end=510
  for tool in memcheck racecheck initcheck synccheck; do
    end=$((end + 20))
    step "compute-sanitizer $tool" "$end" "$sanitizer" --tool "$tool" --error-exitcode 1 --target-processes all \
      "${pytest[@]}" -q \
      "$repository/tests/stack/test_triton_gpu.py::test_odd_sizes_are_as_close_as_eager[one layer-float32]" \
      "$repository/tests/engine/test_cuda.py::test_outputs_on_a_gpu_match_float64[categorical]" \
      "$repository/tests/engine/test_cuda_cluster.py::test_outputs_of_a_cluster_on_a_gpu_match_eager_bfloat16"
  done
fi

printf '\n=== done (at %ss)\n' "$SECONDS"
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}"
  finish 1
fi
echo "all passed"
finish 0
