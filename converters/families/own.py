"""What this project wrote: a file that says of itself what it is."""

from converters.families.family import Family, register

register(
    Family(
        name="own",
        title="what `deeppose-port` wrote: .pt, safetensors, npz",
        recognised="`deeppose_port` among its metadata",
        done="read as it says of itself: architecture, writer, preprocessing, where it came from",
        recognise=lambda found: found.own,
    )
)
