#!/usr/bin/env bash
# The numerical tests under three BLAS kernels, each with one thread and with two: every one rounds otherwise.
#   scripts/kernels.sh [pytest arguments]      KERNELS="Haswell Zen" and THREADS="1 4" choose others
# Says which kernel ran; fails where the one asked for was not the one taken.
set -uo pipefail
cd "$(dirname "$0")/.."
py=.venv/bin/python
flags=" $(grep -m1 '^flags' /proc/cpuinfo 2>/dev/null | cut -d: -f2) "
has() { local f; for f; do [[ $flags == *" $f "* ]] || return 1; done; }

# From new to old; what the processor cannot run would end in an illegal instruction.
able=()
has avx512f avx512bw avx512dq avx512vl && able+=(SkylakeX)
has avx2 fma && able+=(Haswell)
has avx && able+=(Sandybridge)
has sse4_2 && able+=(Nehalem)
able+=(Prescott)
read -ra kernels <<<"${KERNELS:-${able[*]:0:3}}"
read -ra threads <<<"${THREADS:-1 2}"
[ $# -gt 0 ] || set -- tests/offline tests/reference tests/plugins tests/export

results=() failed=0
for kernel in "${kernels[@]}"; do
  # torch has kernels of its own: those go down with BLAS's.
  case $kernel in
    SkylakeX) aten=avx512 mkl=AVX512 dnnl=AVX512_CORE ;;
    Haswell | Zen) aten=avx2 mkl=AVX2 dnnl=AVX2 ;;
    *) aten=default mkl=SSE4_2 dnnl=SSE41 ;;
  esac
  for n in "${threads[@]}"; do
    export OPENBLAS_CORETYPE=$kernel OPENBLAS_NUM_THREADS=$n OMP_NUM_THREADS=$n MKL_NUM_THREADS=$n
    export ATEN_CPU_CAPABILITY=$aten MKL_ENABLE_INSTRUCTIONS=$mkl ONEDNN_MAX_CPU_ISA=$dnnl
    echo "== $kernel, threads $n"
    if ! "$py" - "$kernel" "$n" <<'PY'; then
import sys

import numpy as np
import scipy.linalg  # noqa: F401  its BLAS is another library than numpy's
import torch
from threadpoolctl import threadpool_info

# OpenBLAS has one set of kernels for these two, and reports a processor without SSE3 for Prescott.
names = {"Zen": {"Zen", "Haswell"}, "Prescott": {"Prescott", "Katmai"}}
kernel, threads = sys.argv[1], int(sys.argv[2])
np.zeros((2, 2)) @ np.zeros((2, 2))
found = [i for i in threadpool_info() if i["user_api"] == "blas" and "openblas" in i["internal_api"]]
for i in found:
    print(f"   {i['filepath'].rpartition('/')[2]}: {i['architecture']}, threads {i['num_threads']}")
print(f"   torch: {torch.backends.cpu.get_cpu_capability()}, threads {torch.get_num_threads()}")
wrong = [i for i in found if i["architecture"] not in names.get(kernel, {kernel}) or i["num_threads"] != threads]
if not found or wrong:
    sys.exit(f"   asked for {kernel} with threads {threads}, and that is not what numpy and scipy took")
PY
      results+=("$kernel, threads $n: not run") failed=1
    elif "$py" -m pytest -q "$@"; then
      results+=("$kernel, threads $n: passed")
    else
      results+=("$kernel, threads $n: FAILED") failed=1
    fi
  done
done
printf '%s\n' "${results[@]}"
exit "$failed"
