"""The networks that can be selected by name, each registered where it is written; a new one is a module here.

What is known of a network is read without TensorFlow, so these modules import Keras and numpy inside functions only.
"""
