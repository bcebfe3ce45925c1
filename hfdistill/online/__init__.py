"""Distillation with no teacher at hand: students that train together and teach one another."""

from hfdistill.online.students import Branches, OnlineOutput, OnlineStudents, Peers, new_head
from hfdistill.online.trainer import OnlineTrainer

__all__ = ["Branches", "OnlineOutput", "OnlineStudents", "OnlineTrainer", "Peers", "new_head"]
