"""What is told how studies and trainings go on: one module a callback, registered by its decorator.

Importing this package, and each of its modules, imports nothing heavy: the configuration reads the callbacks' names. A
new callback is one module: see CONTRIBUTING.md.
"""

from imagematch.callbacks.base import Callback, Callbacks, Run, TrialResult, numbers, register_callback

__all__ = ["Callback", "Callbacks", "Run", "TrialResult", "numbers", "register_callback"]
