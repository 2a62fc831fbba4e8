"""Loads the definitions when it is imported: once, in the process that a job's steps are forked from."""

from hephaestus_dag.definitions import defs as defs
