"""What the fork server of `command.py` has loaded before the first command: libraries, and the trainer itself.

Their objects are frozen, so that the garbage collection of a command does not visit them.
"""

import gc

import accelerate
import cv2
import jsonargparse
import safetensors.torch
import torch._dynamo

import train.loop
import train.session

__all__ = ["accelerate", "cv2", "jsonargparse", "safetensors", "torch", "train"]

gc.collect()
gc.freeze()
