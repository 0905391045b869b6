"""What this project adds to OpenCompass: a chat model, an inferencer and two evaluators.

OpenCompass finds these modules through PYTHONPATH and the dotted names in the rendered config.
"""
