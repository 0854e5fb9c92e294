# Registers LPN's modules, whichever tool reads the config
custom_imports = dict(
    imports=[
        'lpn_mmpose',
        'lpn_mmpose.codecs',
        'lpn_mmpose.datasets',
        'lpn_mmpose.engine',
        'lpn_mmpose.evaluation',
        'lpn_mmpose.models',
    ],
    allow_failed_imports=False,
)
