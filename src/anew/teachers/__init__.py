"""Where soft targets come from: networks asked live, or once a view and then read from a store."""

from anew.teachers.choice import Choice, Need, choose
from anew.teachers.encoding import Encoding
from anew.teachers.live import LiveTeacher
from anew.teachers.opening import TeacherParts, asking, open_teacher, teacher_parts
from anew.teachers.reading import ReadingTeacher
from anew.teachers.rows import Rows, RowTeacher
from anew.teachers.store import FLUSH_SECONDS, Store, StoreKey
from anew.teachers.teacher import Teacher

__all__ = [
    "FLUSH_SECONDS",
    "Choice",
    "Encoding",
    "LiveTeacher",
    "Need",
    "ReadingTeacher",
    "RowTeacher",
    "Rows",
    "Store",
    "StoreKey",
    "Teacher",
    "TeacherParts",
    "asking",
    "choose",
    "open_teacher",
    "teacher_parts",
]
