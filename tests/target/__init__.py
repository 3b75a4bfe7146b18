"""Tests of nas_distill.target."""
