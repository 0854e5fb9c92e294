_base_ = '../../../configs/body_2d_keypoint/lpn/lspet/td-hm_lpn50_1xb32-60e_lspet-128x128.py'

# from scratch, stopped after the first of 7 epochs
train_cfg = dict(max_epochs=1, val_interval=1)
optim_wrapper = dict(optimizer=dict(lr=0.002))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=200),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0003,
        begin=0,
        end=7,
        T_max=7,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

# codec settings
codec = dict(type='BetaSoftArgmaxHeatmap', input_size=(96, 96), heatmap_size=(24, 24), sigma=1.5)
model = dict(head=dict(decoder=codec))

# less augmentation than the 60 epochs: few images are seen twice
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(
        type='RandomBBoxTransform',
        shift_factor=0.08,
        shift_prob=0.3,
        scale_factor=(0.8, 1.2),
        rotate_factor=30,
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
train_dataloader = dict(batch_size=16, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

# no averaged weights yet
custom_hooks = [dict(type='SyncBuffersHook')]
