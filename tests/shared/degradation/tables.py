"""What the paper's tables and Real-ESRGAN's options say, written down once more, apart from the code."""

ISO_ANISO = {"iso": 0.69, "aniso": 0.31}
SIX_FAMILIES = {
    "iso": 0.45,
    "aniso": 0.25,
    "generalized_iso": 0.12,
    "generalized_aniso": 0.03,
    "plateau_iso": 0.12,
    "plateau_aniso": 0.03,
}
MOSTLY_KEEP = {"down": 0.2, "keep": 0.7, "up": 0.1}  # the labels of Tables 6-9
MOSTLY_DOWN = {"down": 0.7, "keep": 0.1, "up": 0.2}  # Real-ESRGAN, first stage
