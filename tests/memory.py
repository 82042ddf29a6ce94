"""Peak memory of a process that a test starts."""

#: Python source for the head of a `python -c` program: `peak_mib()`, the most memory the process ever held. Not
#: ru_maxrss: that starts at the size of the process that forked, and a test run of torch modules is a large one.
PEAK_MIB = """
def peak_mib():
    (line,) = [s for s in open("/proc/self/status") if s.startswith("VmHWM")]
    return int(line.split()[1]) // 1024
"""
