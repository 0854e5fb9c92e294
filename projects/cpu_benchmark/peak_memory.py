#!/usr/bin/env python
"""Print the largest resident memory in KB of a run, which takes a process of its own.

python peak_memory.py MODEL BACKEND THREADS PERSONS
"""

import sys

import numpy as np

from lpn_mmpose.runtime import PoseRuntime


def main():
    path, backend, threads, persons = sys.argv[1:]
    pose = PoseRuntime(path, backend, int(threads))
    image = np.zeros((480, 640, 3), np.uint8)
    boxes = [[100, 60, 300, 420]] * int(persons)
    for _ in range(5):
        pose(image, boxes)
    # not getrusage, whose maximum a child has from its parent
    with open('/proc/self/status') as file:
        print(next(line.split()[1] for line in file if line.startswith('VmHWM')))


if __name__ == '__main__':
    main()
