"""Tests of imagematch.reporting."""
