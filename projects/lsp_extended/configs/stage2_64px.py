_base_ = '../../../configs/body_2d_keypoint/lpn/lspet/td-hm_lpn50_1xb32-60e_lspet-128x128.py'

# stopped after the 6th of 10 epochs
train_cfg = dict(max_epochs=6, val_interval=2)
optim_wrapper = dict(optimizer=dict(lr=0.002))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        eta_min=0.0005,
        begin=0,
        end=10,
        T_max=10,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
# no averaged weights yet
custom_hooks = [dict(type='SyncBuffersHook')]
load_from = 'work_dirs/stage1_96px/epoch_1.pth'

# codec settings
codec = dict(type='BetaSoftArgmaxHeatmap', input_size=(64, 64), heatmap_size=(16, 16), sigma=1.2)
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
train_dataloader = dict(batch_size=24, num_workers=1, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
