_base_ = ['lpn_mmpose::body_2d_keypoint/lpn/lspet/td-hm_lpn50_1xb32-60e_lspet-128x128.py']

# runtime
train_cfg = dict(max_epochs=10, val_interval=2)

# learning policy
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.002,
        begin=0,
        end=10,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

# hooks: no average of the weights, in which 250 iterations leave too much of where they began
default_hooks = dict(checkpoint=dict(save_best='PCK', rule='greater'))
custom_hooks = _base_.custom_hooks[:1]

# codec settings
codec = dict(type='BetaSoftArgmaxHeatmap', input_size=(96, 96), heatmap_size=(24, 24), sigma=1.5)

# model settings: as many heatmaps as keypoints
model = dict(head=dict(out_channels=6, decoder=codec))

# pipelines: planes fly in all directions
train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale'),
    dict(type='RandomFlip', direction='horizontal'),
    dict(
        type='RandomBBoxTransform',
        shift_factor=0.08,
        shift_prob=0.3,
        scale_factor=(0.75, 1.25),
        rotate_factor=180,
        rotate_prob=1,
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
dataset = dict(
    type='CocoDataset',
    data_root='data/planes/',
    metainfo=dict(from_file='projects/own_data/planes.py'),
)
train_dataloader = dict(
    dataset=dict(
        dataset, ann_file='train.json', data_prefix=dict(img='train/'), pipeline=train_pipeline
    )
)
val_dataloader = dict(
    dataset=dict(dataset, ann_file='val.json', data_prefix=dict(img='val/'), pipeline=val_pipeline)
)
test_dataloader = val_dataloader

# evaluators: keypoints within a twentieth of the box's longer side, OKS-AP
val_evaluator = [dict(type='PCKAccuracy', thr=0.05), dict(type='CocoMetric')]
test_evaluator = val_evaluator
