"""Training: one DeepSpeed job from a mixture and a model to a new model, resumable at any instant."""
