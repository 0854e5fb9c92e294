_base_ = './margin.py'

# once more, with augmentation that is nearer to the photographs
train_cfg = dict(max_epochs=2, val_interval=2)
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=40),
    dict(
        type='PolyLR',
        power=1,
        eta_min=0,
        begin=0,
        end=2,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
load_from = 'work_dirs/anneal/epoch_11.pth'

# the first layers hardly move any more
model = dict(backbone=dict(frozen_stages=1))

custom_hooks = _base_.custom_hooks
custom_hooks[1].momentum = 0.01

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(
        type='RandomBBoxTransform',
        shift_factor=0.08,
        shift_prob=0.3,
        scale_factor=(0.8, 1.25),
        rotate_factor=45,
        rotate_prob=0.5,
    ),
    dict(type='TopdownAffine', input_size=_base_.codec.input_size),
    dict(type='GenerateTarget', encoder=_base_.codec),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
