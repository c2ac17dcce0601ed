"""Smaller networks out of trained ones: channels taken out, and NetAdapt."""
