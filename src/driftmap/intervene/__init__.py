"""INTERVENE: weights and heads go for a while; the model is left as found."""
