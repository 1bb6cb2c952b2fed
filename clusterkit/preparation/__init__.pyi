from .checking import Check as Check
from .checking import check as check
from .findings import KINDS as KINDS
from .findings import Finding as Finding
from .off_topic import score_off_topic as score_off_topic
