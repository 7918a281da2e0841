"""Emotions of voices as ROS4HRI messages."""
