"""Crons at work: armed for when they are due, and made into events then."""
