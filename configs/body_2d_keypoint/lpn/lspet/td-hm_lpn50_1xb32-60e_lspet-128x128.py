# From scratch in one run. The shipped weights were trained in eight stages, at
# 64 to 128 pixels and on 296 k images: projects/lsp_extended/configs.
_base_ = './td-hm_lpn50_1xb32-60e_lspet-256x256.py'

# codec settings
codec = dict(type='BetaSoftArgmaxHeatmap', input_size=(128, 128), heatmap_size=(32, 32), sigma=1.5)

# model settings
model = dict(head=dict(decoder=codec))

# pipelines
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(
        type='RandomBBoxTransform',
        shift_factor=0.08,
        shift_prob=0.3,
        scale_factor=(0.75, 1.25),
        rotate_factor=60,
        rotate_prob=0.6,
    ),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
val_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='TopdownAffine', input_size=codec['input_size']),
    dict(type='PackPoseInputs'),
]

# data loaders
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
