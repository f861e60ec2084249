"""Networks of their owners' own, which the Python file that defined them tells."""

from __future__ import annotations

from converters.families.family import Family, register

register(
    Family(
        name="source",
        title="networks whose source lies beside them, or is named",
        recognised="a class in the model file that `log.txt` names, in another `.py` file beside the checkpoint, or in "
        "`--model-file FILE[:CLASS]` gives exactly the file's names and shapes",
        done="the network is read from its source, which is never run; inputs as the `log.txt` says, else as "
        "mitmul/deeppose's",
        recognise=lambda found: False,  # its names and shapes do not tell
    )
)
