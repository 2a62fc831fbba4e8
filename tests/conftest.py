import pandas as pd  # noqa: F401  pyarrow loads it with its first array, which may be inside a hypothesis example's deadline
